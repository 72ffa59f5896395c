// What the library shows to its callers.
#pragma once

#define TMG_API extern "C" __attribute__((visibility("default")))
