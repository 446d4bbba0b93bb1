"""One merge: what is said in files, overlays, parts and options is what a run gets."""

import pytest
import yaml

from videodiff.cli import main
from videodiff.cli.launch import PRINTED
from videodiff.config import BuildError, Stored, build, build_model, merge, read_configs
from videodiff.usage import UsageError

UNET = "videodiff.networks.UNet3D"
DDIM = {"class_path": "videodiff.diffusion.DDIMSampler", "init_args": {"num_steps": 7, "grid": "trailing"}}


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a file in a folder of its own and name it from the working folder."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)

    def write(text, name="own.yaml"):
        (tmp_path / name).write_text(text)
        return name

    return write


def net_of(config):
    return config["model"]["init_args"]["net"]


@pytest.mark.parametrize(
    "over",
    [
        "model: {init_args: {net: UNet3D}}",
        "model: {init_args: {net: sub/net.yaml}}",
        "model: {init_args: {net: {init_args: }}}",
        "model: VDM",
        "model:",
        "trainer:",
    ],
)
def test_a_part_keeps_what_is_not_said_anew(over, own):
    own("class_path: UNet3D", "sub/net.yaml")
    before, after = (read_configs(names, "fit") for names in (["vdm_digits"], ["vdm_digits", own(over)]))
    assert net_of(after)["init_args"] == net_of(before)["init_args"]
    assert after["trainer"] == before["trainer"]


def test_a_file_of_a_part_is_found_beside_the_config_that_names_it(own):
    own(f"class_path: {UNET}\ninit_args: {{width: 24}}", "sub/net.yaml")
    own("model: {init_args: {net: net.yaml}}", "sub/own.yaml")
    assert net_of(read_configs(["vdm_digits", "sub/own.yaml"], "fit"))["init_args"]["width"] == 24
    words = ["--model.net", "sub/net.yaml", "--model.net.num_blocks", "3"]
    options = net_of(read_configs(["vdm_digits"], "fit", words))["init_args"]
    assert (options["width"], options["num_blocks"]) == (24, "3")
    own(f"class_path: {UNET}\ninit_args: {{widht: 24}}", "sub/net.yaml")
    with pytest.raises(UsageError, match=r"sub/net\.yaml: .*'widht'.*'width'"):
        read_configs(["vdm_digits", "sub/own.yaml"], "fit")
    with pytest.raises(UsageError, match=r"model\.net: no file absent\.yaml"):
        read_configs(["vdm_digits", own("model: {init_args: {net: absent.yaml}}")], "fit")


@pytest.mark.parametrize("key", ["config", "ckpt_path", "out", "name", "trust"])
def test_an_option_of_the_command_is_no_key_of_a_config(key, own):
    with pytest.raises(UsageError, match=f"'{key}' is given on the command line only"):
        read_configs(["vdm_digits", own(f"{key}: x")], "fit")


def test_a_date_is_the_name_of_a_folder(own):
    config = read_configs(["vdm_digits", own("data: {init_args: {root: 2020-01-01}}")], "fit")
    assert config["data"]["init_args"]["root"] == "2020-01-01"


def test_a_new_class_has_its_own_grid_and_the_steps_of_the_old_one():
    """As ``generate --sampler`` has it; ``trailing`` is another grid to every sampler."""
    found = merge({"sampler": DDIM}, {"sampler": "DPMSolverPP2MSampler"})["sampler"]
    assert found == {"class_path": "DPMSolverPP2MSampler", "init_args": {"num_steps": 7}}
    assert merge({"sampler": DDIM}, {"sampler": "DDIMSampler"})["sampler"]["init_args"] == DDIM["init_args"]
    given = {"class_path": "DPMSolverPP2MSampler", "init_args": {"grid": "trailing"}}
    twice = merge({"sampler": DDIM}, {"sampler": given}, {"sampler": given})
    assert twice["sampler"]["init_args"] == DDIM["init_args"]


def test_an_option_reaches_one_element_of_a_list():
    stage = {
        "class_path": "videodiff.sampling.Stage",
        "init_args": {"model": {"class_path": "VDM", "init_args": {}}},
    }
    pipeline = {"class_path": "videodiff.sampling.Pipeline", "init_args": {"stages": [stage, stage]}}
    stored = [Stored({"model": pipeline}, "config of it")]
    words = ["--model.stages.0.model.guidance_scale", "2"]
    first, last = read_configs(stored, "test", words)["model"]["init_args"]["stages"]
    assert first["init_args"]["model"]["init_args"] == {"guidance_scale": "2"}
    assert last == stage
    with pytest.raises(UsageError, match=r"stages\.2\.model\.guidance_scale: there are 2"):
        read_configs(stored, "test", ["--model.stages.2.model.guidance_scale", "2"])
    with pytest.raises(UsageError, match=r"^--model\.stages\.0\.model\.guidance_scal: .*'guidance_scale'"):
        read_configs(stored, "test", ["--model.stages.0.model.guidance_scal", "2"])


def test_the_seed_of_a_run_is_that_of_the_parts_which_have_none(own):
    words = ["--seed_everything", "3"]
    built = build(read_configs(["vdm_digits", "with/smoke"], "fit", words))
    assert (built.model.seed, built.data.seed) == (3, 3)
    built = build(read_configs(["vdm_digits", "with/smoke"], "fit", [*words, "--data.seed", "5"]))
    assert (built.model.seed, built.data.seed) == (3, 5)


def test_what_cannot_be_built_is_said_in_one_line():
    config = read_configs(["vdm_digits", "with/smoke"], "fit", ["--model.net.head_dim", "7"])
    with pytest.raises(BuildError, match="head_dim") as error:
        build_model(config)
    assert len(str(error.value).splitlines()) == 1


def test_the_config_that_is_printed_is_the_one_that_a_run_writes(own, capsys):
    words = ["--config", "vdm_digits", "--config", "with/smoke", "--trainer.limit_val_batches", "1"]
    assert main(["fit", *words, "--print_config", "--model.net.width", "48"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert main(["fit", *words, "--model.net.width", "48", "--out", "run"]) == 0
    with open("run/config.yaml") as file:
        assert printed == yaml.safe_load(file)
    capsys.readouterr()
    assert main(["fit", *words, "--print_config=skip_defualt"]) == 2
    assert "did you mean 'skip_default'" in capsys.readouterr().err
    assert set(PRINTED) >= {"skip_default", "skip_null"}


@pytest.mark.parametrize("patch", ["[1, 4, 4]", "[2, 4, 4]"])
def test_the_smoke_overlay_suits_patches_of_one_frame_and_of_several(patch):
    built = build(read_configs(["dit_digits", "with/smoke"], "fit", ["--model.net.patch_size", patch]))
    built.model.check_data(built.data)
