"""Whole experiments: runs or measurements of runs, a table and pictures from one call."""

from torchmg.study.features import FeatureStudy, study_features
from torchmg.study.functions import FunctionStudy, study_functions
from torchmg.study.hierarchy import HierarchyStudy, study_hierarchy
from torchmg.study.recipe import RecipeStudy, study_recipe
from torchmg.study.stability import StabilityStudy, study_stability

__all__ = [
    "FeatureStudy",
    "FunctionStudy",
    "HierarchyStudy",
    "RecipeStudy",
    "StabilityStudy",
    "study_features",
    "study_functions",
    "study_hierarchy",
    "study_recipe",
    "study_stability",
]
