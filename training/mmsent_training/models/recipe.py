"""What a model must say of itself. README.md in this folder says how to add one.

Everything that differs between models stands behind this protocol. A module with these names is a
recipe.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokenizers import Tokenizer
from torch import Tensor, nn

from mmsent.data.pair import Part
from mmsent.inputs.image import ImageSettings
from mmsent_training.batches import Batches
from mmsent_training.examples import Examples
from mmsent_training.settings import Device, Preset, Settings

Ids = Sequence[Sequence[int]]
"""The token ids of every example."""


class Weights(Protocol):
    """Pretrained weights, found and verified.

    ``name``: what a person calls them; ``revision``: of a hub's repository or a package, None for
    a local folder; ``sha256``: of the files that hold them.
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str | None: ...
    @property
    def sha256(self) -> str: ...


@dataclass(frozen=True)
class Task:
    """What a recipe knows of a training. ``train`` and ``validation`` are rows of ``examples``."""

    settings: Settings
    weights: Weights | None
    examples: Examples
    train: Sequence[int]
    validation: Sequence[int]


@dataclass(frozen=True)
class Inputs:
    """How a pair becomes what the model takes: both go into the bundle."""

    tokenizer: Tokenizer
    image: ImageSettings


@dataclass(frozen=True)
class Prepared:
    """What the loop trains, and on what.

    ``module``: the model, or the part of it that is trained. ``training`` and ``validation``: its
    inputs, in the order of the task's rows. ``missing``: what stands for a missing text, [tokens,
    ...], and a missing image, in the form in which the module takes them. ``pretrained``: how the
    names of its pretrained parameters begin. ``optional``: what a pair may lack because of how the
    model is built, even where the training drops no modality.
    """

    module: nn.Module
    training: Batches
    validation: Batches
    missing: tuple[Tensor, Tensor]
    pretrained: tuple[str, ...] = ()
    optional: tuple[Part, ...] = ()


class Recipe(Protocol):
    """A model, from its weights to what the loop trains. A training calls these in their order."""

    def find_weights(self, sources: Mapping[str, str]) -> Weights | None:
        """Its pretrained weights, verified; None where it has none.

        ``sources``: its options of that kind that were given. Raises WeightsUnavailable if the
        weights are unavailable, and InputError if a source can't be one.
        """

    def default_settings(self, device: Device, preset: Preset) -> Settings:
        """How it is trained unless the user chooses otherwise. Raises InputError for no preset."""

    def read_inputs(self, task: Task) -> Inputs:
        """Tokenizer and image settings; a vocabulary comes from the training part alone."""

    def create(self, task: Task, inputs: Inputs, ids: Ids) -> tuple[dict[str, Any], nn.Module]:
        """The arguments of `build`, as run.json keeps them, and that model, ready to be trained."""

    @property
    def build(self) -> Callable[..., nn.Module]:
        """The network: ids, mask and pixels, as a bundle has them, to logits, [batch, labels].

        It takes ``labels``, a number, and whatever else `create` returns. The export calls it.
        """

    def prepare(self, model: nn.Module, task: Task, inputs: Inputs, ids: Ids) -> Prepared:
        """Say what of ``model``, which is on its device by now, is trained on what."""
