"""Training of denoisers that are resolvents, from folders of images to a folder with a network."""

from recon.priors.networks.layers.momentum import MomentumForm, momentum_form
from recon.training.checkpoint import load_checkpoint, save_checkpoint
from recon.training.config import Recipe, parse_recipe, read_recipe, to_toml
from recon.training.data import Patches, read_patches, read_validation
from recon.training.equilibrium import Restoration, restoration
from recon.training.group import Group
from recon.training.loop import Listeners, Now, Outcome
from recon.training.noise_level import noise_stated
from recon.training.operator_stated import recipe_for_measurements
from recon.training.optimisation import Step
from recon.training.own import Own
from recon.training.parallel import train_together
from recon.training.penalty import excess, steepest
from recon.training.run import Images, prepare, train, train_on
from recon.training.sweep import Sweep, parse_sweep
from recon.training.tables import (
    DataConfig,
    EquilibriumConfig,
    PenaltyConfig,
    SparsityConfig,
    TrainingConfig,
    ValidationConfig,
)
from recon.training.tensorboard import tensorboard
from recon.training.trainer import Trainer

__all__ = [
    "DataConfig",
    "EquilibriumConfig",
    "Group",
    "Images",
    "Listeners",
    "MomentumForm",
    "Now",
    "Outcome",
    "Own",
    "Patches",
    "PenaltyConfig",
    "Recipe",
    "Restoration",
    "SparsityConfig",
    "Step",
    "Sweep",
    "Trainer",
    "TrainingConfig",
    "ValidationConfig",
    "excess",
    "load_checkpoint",
    "momentum_form",
    "noise_stated",
    "parse_recipe",
    "parse_sweep",
    "prepare",
    "read_patches",
    "read_recipe",
    "read_validation",
    "recipe_for_measurements",
    "restoration",
    "save_checkpoint",
    "steepest",
    "tensorboard",
    "to_toml",
    "train",
    "train_on",
    "train_together",
]
