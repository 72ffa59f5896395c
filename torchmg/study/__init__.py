"""Whole experiments of the MGIC paper: runs, a table and pictures from one call, which goes on where it was stopped."""

from torchmg.study.features import FeatureStudy, study_features
from torchmg.study.functions import FunctionStudy, study_functions

__all__ = ["FeatureStudy", "FunctionStudy", "study_features", "study_functions"]
