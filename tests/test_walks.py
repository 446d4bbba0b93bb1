"""scripts/walks.py: which files run."""

import importlib.util
import sys
import threading
from pathlib import Path

spec = importlib.util.spec_from_file_location("walks", Path(__file__).parent.parent / "scripts" / "walks.py")
walks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(walks)

ACTS = '''
import threading

class Thing:
    """Its body runs on import."""
    number = 3

    def method(self): return [x for x in range(self.number)]

def in_thread():
    thread = threading.Thread(target=Thing().method)
    thread.start()
    thread.join()
'''


def test_a_file_counts_if_a_function_of_it_runs_in_any_thread_and_not_for_its_body(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("walked_body", "walked_thread"):
        (tmp_path / f"{name}.py").write_text(ACTS)

    def act():
        import walked_body  # noqa: F401
        import walked_thread

        walked_thread.in_thread()

    assert walks.files_that_run(act, tmp_path) == {"walked_thread.py"}
    assert sys.getprofile() is None
    assert threading.getprofile() is None


def test_a_video_reaches_its_loss_through_no_command_and_a_config_its_model_through_no_data(tmp_path):
    loss, model = walks.to_loss(tmp_path), walks.to_model(tmp_path)
    assert {"data/video_decode.py", "models/diffusion.py", "networks/unet3d.py", "diffusion/loss.py"} <= loss
    assert {"config/loader.py", "networks/unet3d.py", "diffusion/schedule.py"} <= model
    assert not [file for file in loss if file.startswith(("cli/", "evaluation/", "callbacks/", "cost/"))]
    assert not [file for file in model if file.startswith(("data/", "evaluation/", "callbacks/", "cost/"))]
