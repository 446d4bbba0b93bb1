"""Public data sets that may be fetched from their official links, and where to get the others."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from videodiff.data.fetch import fetch
from videodiff.weights.place import OFFLINE_VARIABLE, is_offline

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Part:
    """One file of a data set.

    Args:
        url: its official address.
        sha256: hash, where someone has published one; None takes what comes, by its length.
        num_bytes: size, where it is known.
        unpacks_to: folder that the archive holds; None for a file that is used as it is.
    """

    url: str
    sha256: str | None = None
    num_bytes: int | None = None
    unpacks_to: str | None = None

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class PublicSet:
    """A public data set.

    Args:
        title: its name in full.
        layout: how it lies on disk (:mod:`videodiff.data.layouts`).
        page: where it is described.
        shape: how its files must lie in a folder, in words.
        parts: what is fetched; none where there is no open official link to the videos.
    """

    title: str
    layout: str
    page: str
    shape: str
    parts: tuple[Part, ...] = ()


# Hashes and sizes as tensorflow/datasets:tensorflow_datasets/url_checksums has them.
SETS = {
    "moving_mnist": PublicSet(
        "Moving MNIST (test sequences)", "array", "https://www.cs.toronto.edu/~nitish/unsupervised_video/",
        "mnist_test_seq.npy",
        (Part("http://www.cs.toronto.edu/~nitish/unsupervised_video/mnist_test_seq.npy",
              "c2a3e8d3939c001ab77bf543f130157424efa486bb4d0974d2cebb773b13f8b3", 819_200_096),),
    ),
    "bair": PublicSet(
        "BAIR robot pushing", "bair", "https://sites.google.com/view/sna-visual-mpc",
        "softmotion30_44k/{train,test}/*.tfrecords",
        (Part("http://rail.eecs.berkeley.edu/datasets/bair_robot_pushing_dataset_v0.tar",
              "c6f8d164ab2be07174ef597e3e070d7466f3142caddc467b6af119b9458cd9cd", 32_274_964_480, "softmotion30_44k"),),
    ),
    "ucf101": PublicSet(
        "UCF-101", "ucf101", "https://www.crcv.ucf.edu/data/UCF101.php",
        "UCF-101/<Class>/*.avi and ucfTrainTestlist/*.txt",
        (Part("https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",
              "5c0d1a53b8ed364a2ac830a73f405e51bece7d98ce1254fd19ed4a36b224bd27", 113_943, "ucfTrainTestlist"),
         Part("https://www.crcv.ucf.edu/data/UCF101/UCF101.rar", unpacks_to="UCF-101")),
    ),
    "sky": PublicSet(
        "SkyTimelapse", "sky", "https://github.com/weixiong-ur/mdgan",
        "sky_train/<video>/<clip>/*.jpg and sky_test/<video>/<clip>/*.jpg",
    ),
    "taichi": PublicSet(
        "Taichi-HD", "taichi", "https://github.com/AliaksandrSiarohin/video-preprocessing",
        "train/*.mp4 and test/*.mp4, or a folder of PNGs per clip",
    ),
    "kinetics600": PublicSet(
        "Kinetics-600", "kinetics", "https://github.com/cvdfoundation/kinetics-dataset",
        "{train,val}/<label>/<id>_<start>_<end>.mp4 and {train,val}.csv",
    ),
}  # fmt: skip


def obtain(name: str, folder: str | os.PathLike[str], tell: Tell = lambda line: None) -> Path:
    """The folder of a public set: as it is if it is there, else fetched and unpacked.

    Args:
        name: a key of :data:`SETS`.
        folder: where the set belongs.
        tell: given a line now and then.

    Returns:
        `folder`.

    Raises:
        FileNotFoundError: if the set must be fetched by hand, or a server does not have it; the line says from where,
            and how it must lie.
        OSError: if a download fails.
        ValueError: if what came is not what it should be.
    """
    known, folder = SETS[name], Path(folder)
    missing = [part for part in known.parts if not (folder / (part.unpacks_to or part.name)).exists()]
    if known.parts and not missing:
        return folder
    command = f"videodiff prepare DIR --layout {known.layout}"
    by_hand = f"get it from {known.page}, lay it out as {known.shape}, and run {command}"
    if not known.parts:
        raise FileNotFoundError(f"{known.title} has no open link to fetch it from: {by_hand}")
    if is_offline():
        raise FileNotFoundError(f"{known.title} is not in {folder}, and {OFFLINE_VARIABLE} is set: {by_hand}")
    for part in missing:
        if part.name.endswith(".rar") and rar_tool() is None:
            raise FileNotFoundError(
                f"{part.name} needs a tool that unpacks rar (unrar, unar, 7z or bsdtar) and none is installed; or "
                f"{by_hand}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for part in missing:
        file = fetch(part.url, folder / part.name, part.sha256, part.num_bytes, tell)
        if part.unpacks_to is not None:
            tell(f"unpacking {part.name}")
            unpack(file, folder, part.unpacks_to)
            file.unlink()
    return folder


def rar_tool() -> list[str] | None:
    """The command that unpacks a rar, to be followed by archive and folder; None without one."""
    for tool, words in {
        "unrar": ["x", "-o+", "-inul"], "unar": ["-quiet", "-force-overwrite"], "7z": ["x", "-y"], "bsdtar": ["-xf"],
    }.items():  # fmt: skip
        if shutil.which(tool):
            return [tool, *words]
    return None


def unpack(archive: Path, folder: Path, wanted: str) -> None:
    """Unpack `wanted`, a top folder of an archive, into `folder`: whole, or not at all.

    Raises:
        ValueError: if the archive is damaged, does not hold it, or holds paths that lead outside.
    """
    with _beside(folder, archive.name) as temporary:
        try:
            if archive.suffix == ".zip":
                _unzip(archive, temporary)
            elif archive.suffix == ".rar":
                _unrar(archive, temporary)
            else:
                _untar(archive, temporary)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{archive} is damaged ({error}); remove it and try again") from error
        found = next((path for path in temporary.rglob(wanted) if path.is_dir()), None)
        if found is None:
            raise ValueError(f"{archive} holds no folder {wanted}")
        os.replace(found, folder / wanted)


@contextmanager
def _beside(folder: Path, name: str) -> Iterator[Path]:
    temporary = folder / f".{name}.{os.getpid()}.unpacking"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _inside(archive: Path, name: str) -> str:
    """The name of a member, if it stays below the folder it is unpacked to."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0]:
        raise ValueError(f"{archive} holds {name!r}, which would be written outside; it is not unpacked")
    return name


def _untar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            path = target / _inside(archive, member.name)
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif member.isreg():  # links and devices have no business in a data set
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                with source, path.open("wb") as file:
                    shutil.copyfileobj(source, file, 2**20)


def _unzip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            _inside(archive, member.filename)
        file.extractall(target)


def _unrar(archive: Path, target: Path) -> None:
    tool = rar_tool()
    if tool is None:
        raise ValueError(f"{archive} needs unrar, unar, 7z or bsdtar to be unpacked; none is installed")
    place = {"unar": ["-o", str(target)], "7z": [f"-o{target}"], "bsdtar": ["-C", str(target)]}
    words = [*tool, str(archive), *place.get(tool[0], [f"{target}{os.sep}"])]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise ValueError(f"{archive}: {tool[0]} failed ({reason[-1] if reason else done.returncode})")
