"""The machines' disks: Debian at its smallest, made once for each kernel and kept.

Rule 1: what the image holds is said by the recipe here and by what the package depends on;
        whenever either changes, an image is made anew.
Rule 2: nothing is in it that a minimal Debian lacks, but for the agent that runs the tests'
        commands. What the package depends on lies beside it, in a directory that apt may install
        from: machines have no way to the world.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BASE = "systemd systemd-sysv udev dbus kmod linux-image-amd64 qemu-guest-agent"
ETCD = "etcd-server, etcd-client"
_SIZE = "6G"
REPOSITORY = "/srv/apt"
"""Where apt finds what the package needs, in the machine."""

# What boots from a virtio disk, and nothing else: a tenth of the usual size, and quicker.
_INITRD = """
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list > "$1/etc/initramfs-tools/conf.d/machine"
printf '%s\n' virtio_pci virtio_blk ext4 > "$1/usr/share/initramfs-tools/modules.d/machine"
"""
# APT_CONFIG points mmdebstrap's own apt at the new system, its keys and its mirror included.
_REPOSITORY = f"""
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get -qq satisfy --yes --download-only --no-install-recommends "$NEEDS"
mkdir -p "$1{REPOSITORY}"
mv "$1"/var/cache/apt/archives/*.deb "$1{REPOSITORY}"
cd "$1{REPOSITORY}"
dpkg-scanpackages --multiversion . > Packages 2>/dev/null
unset APT_CONFIG
echo 'deb [trusted=yes] file:{REPOSITORY} ./' > "$1/etc/apt/sources.list"
rm -rf "$1/var/lib/apt/lists"
chroot "$1" apt-get -qq update
"""
# The servers are programs for the tests: none is to start by itself.
_VENV = """
cp -r "$WHEELS" "$1/wheels"
chroot "$1" python3 -m venv --system-site-packages /srv/venv
chroot "$1" sh -c '/srv/venv/bin/pip install --quiet --no-index --no-deps /wheels/*.whl'
rm -r "$1/wheels"
printf '%s\n' '#!/srv/venv/bin/python3' 'import sys' 'from vipnft.cli.main import main' \
    'sys.exit(main())' > "$1/srv/venv/bin/vipnft"
chmod +x "$1/srv/venv/bin/vipnft"
for packages in "$1"/srv/venv/lib/python3*/site-packages; do
    echo /srv/vipnft > "$packages/vipnft.pth"
done
systemctl --quiet --root="$1" mask nginx.service nsd.service etcd.service \
    corosync.service pacemaker.service prometheus.service
"""
_SETTINGS = """
rm -f "$1/etc/hostname" "$1/etc/resolv.conf"
: > "$1/etc/machine-id"
mkdir -p "$1/share" "$1/var/log/journal"
echo 'share /share 9p trans=virtio,version=9p2000.L,cache=none,nofail 0 0' > "$1/etc/fstab"
for n in 1 2 3; do
    printf '%s\n' '[Match]' Name=eth0 "Host=m$n" '[Network]' "Address=192.0.2.1$n/24" \
        "Address=2001:db8::1:1$n/64" Gateway=192.0.2.254 Gateway=2001:db8::fe \
        LinkLocalAddressing=ipv6 IPv6AcceptRA=no > "$1/etc/systemd/network/10-m$n.network"
done
systemctl --quiet --root="$1" enable systemd-networkd.service
systemctl --quiet --root="$1" mask apt-daily.timer apt-daily-upgrade.timer
"""


@dataclass(frozen=True, slots=True)
class System:
    """A Debian to be tried: its kernel as `make machines KERNEL=` names it."""

    kernel: str
    name: str
    suite: str
    python: str


SYSTEMS = {
    "6.1": System("6.1", "Debian 12", "bookworm", "3.11"),
    "6.12": System("6.12", "Debian 13", "trixie", "3.13"),
}


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from; its disk is only ever read, overlays take what is written."""

    system: System
    home: Path

    @property
    def disk(self) -> Path:
        return self.home / "disk"

    @property
    def kernel(self) -> Path:
        return self.home / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.home / "initrd"


def cache() -> Path:
    """Return the directory that images and the logs of failed runs are kept in."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    found = Path(base, "vipnft-machines")
    found.mkdir(parents=True, exist_ok=True)
    return found


def image(system: System, package: Path) -> Image:
    """Return the system's image with what `package` (a .deb) depends on, made if there is none."""
    needs = subprocess.run(
        ["dpkg-deb", "-f", package, "Depends"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return _kept(system, "", f"{needs}, {ETCD}", BASE, (_REPOSITORY, _SETTINGS))


def image_for_tests(system: System, packages: str, project: Path) -> Image:
    """Return one with what this project's own tests need: packages, and a venv in /srv/venv."""
    wheels = project.read_text()
    base = " ".join((BASE, packages, "python3-venv"))
    return _kept(system, "-tests", wheels, base, (_VENV, _SETTINGS))


def _kept(system: System, kind: str, needs: str, base: str, hooks: Sequence[str]) -> Image:
    recipe = "\n".join((base, needs, _INITRD, *hooks, _SIZE))
    name = f"{system.suite}{kind}"
    home = cache() / f"{name}={hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    with locked(cache() / f"{name}.lock"):
        if not home.exists():
            for old in cache().glob(f"{name}=*"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(prefix="wheels-") as wheels:
                environment = {"NEEDS": needs, "WHEELS": wheels}
                if kind:
                    _download(system, needs, wheels)
                _make(system, base, hooks, environment, cache() / f"{name}-new", home)
    return Image(system, home)


def _download(system: System, project: str, into: str) -> None:
    """Fetch the wheels of what the project and its tests depend on, for the system's Python."""
    wanted = tomllib.loads(project)["project"]
    extras = wanted["optional-dependencies"]
    named = [*wanted["dependencies"], *extras["dev"], *extras.get("dns", ())]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"]
    words += [f"--python-version={system.python}", "--dest", into]
    words += [f"--platform=manylinux{of}_x86_64" for of in ("2014", "_2_17", "_2_28")]
    words += [name for name in named if not name.startswith("vipnft")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Let one in, or all who share, and others wait."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _mirror() -> str:
    """Return where this machine itself has its Debian packages from."""
    words = ["apt-get", "indextargets", "--format", "$(SITE)"]
    words += ["Created-By: Packages", "Origin: Debian", "Label: Debian"]
    found = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert found, "no mirror of Debian's is known here: apt-get update"
    return found[0]


def _make(
    system: System,
    base: str,
    hooks: Sequence[str],
    environment: Mapping[str, str],
    new: Path,
    home: Path,
) -> None:
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    tree = new / "tree"
    words = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt"]
    words += [f"--include={base.replace(' ', ',')}", f"--essential-hook={_INITRD}"]
    words += [f"--customize-hook=set -e{hook}" for hook in hooks]
    words += ["--skip=cleanup/apt/lists", system.suite, str(tree), _mirror()]
    with (new / "log").open("w") as log:
        environment = {**os.environ, **environment}
        made = subprocess.run(words, env=environment, stdout=log, stderr=log, check=False)
    assert made.returncode == 0, f"no image of {system.name}:\n{(new / 'log').read_text()}"
    (kernel,) = tree.glob("boot/vmlinuz-*")
    (initrd,) = tree.glob("boot/initrd.img-*")
    shutil.copy(kernel, new / "vmlinuz")
    shutil.copy(initrd, new / "initrd")
    words = ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
    words += ["-d", str(tree), str(new / "disk"), _SIZE]
    subprocess.run(words, check=True, capture_output=True)
    shutil.rmtree(tree)
    new.rename(home)
