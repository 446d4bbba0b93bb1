"""What the texts of classes say is what the classes say, so that nothing right is refused before they are imported."""

import pytest

from videodiff.config import shipped_configs
from videodiff.config.lookup import IMPORTED, SOURCE
from videodiff.config.read import check_texts
from videodiff.config.signatures import accepts, members
from videodiff.config.source import Unsaid
from videodiff.usage import UsageError

CONFIGS = [name for name in shipped_configs() if "/" not in name]
OVERLAYS = [name for name in shipped_configs() if "/" in name]
VALUES = (
    "auto",
    "null",
    "true",
    "3",
    "0.5",
    "x.yaml",
    "torch.optim.AdamW",
    3,
    0.5,
    True,
    None,
    [1, 2],
    ["a"],
)


def test_every_class_with_a_short_name_is_found_and_takes_the_same_arguments():
    seen = dict(SOURCE.short_name_classes())
    for path, cls in IMPORTED.short_name_classes():
        there, here = IMPORTED.parameters(cls), SOURCE.parameters(seen[path])
        if not here.is_open:  # what is open refuses nothing
            assert (here.names, here.is_open) == (there.names, there.is_open), path
        assert SOURCE.full_path(path.rpartition(".")[2])


def test_the_trainer_and_our_callbacks_take_the_same_options():
    there, here = IMPORTED.groups(), SOURCE.groups()
    assert list(here) == list(there)
    for key, known in there.items():
        assert (here[key].names, here[key].is_open) == (known.names, known.is_open)


@pytest.mark.parametrize("path", ["VDM", "LVDM", "PVDM", "AutoencoderModule", "VideoDataModule", "UNet3D"])
def test_a_text_refuses_no_value_that_the_class_takes(path):
    there = IMPORTED.parameters(IMPORTED.resolve(path)).hints
    for name, hint in SOURCE.parameters(SOURCE.resolve(path)).hints.items():
        for value in VALUES if hint is not None and Unsaid not in members(hint) else ():
            if accepts(hint, value) is False:
                assert accepts(there[name], value) is False, (name, value)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_shipped_config_is_refused_by_its_text(name):
    check_texts([name], "fit", ["--trainer.max_steps", "3", "--data.resolution", "32x16"])
    refusals = [said for overlay in OVERLAYS if (said := refusal(name, overlay))]
    assert all("is made for" in said for said in refusals)


def refusal(*names):
    """What the texts of configs are refused with; None if they are not."""
    try:
        check_texts(names, "fit")
    except UsageError as error:
        return str(error)
    return None


def test_a_class_that_no_text_shows_is_left_to_its_import():
    options = ["--model", "my.own.Model", "--model.anything", "3", "--model.net.width", "x"]
    check_texts(["vdm_digits"], "fit", options, trusted=("my.own",))
    with pytest.raises(UsageError, match="not allowed in a config"):
        check_texts(["vdm_digits"], "fit", options)
