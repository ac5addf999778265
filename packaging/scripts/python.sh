# Sourced: sets $python to a Python 3.11 to 3.14 of this system.
# The paths are exported, since vipnft starts Python anew for parts of itself.
export PYTHONPATH=/usr/lib/vipnft PYTHONNOUSERSITE=1
unset PYTHONHOME
python=
# (-ef is not POSIX's, but dash and bash have it, and it starts no process.)
for minor in 11 12 13 14; do
    if [ /usr/bin/python3 -ef "/usr/bin/python3.$minor" ]; then
        python=/usr/bin/python3
    fi
done
for minor in 14 13 12 11; do # where python3 is an older one, as on RHEL 9
    if [ -z "$python" ] && [ -x "/usr/bin/python3.$minor" ]; then
        python=/usr/bin/python3.$minor
    fi
done
if [ -z "$python" ]; then
    echo "vipnft: no Python 3.11 to 3.14 is in /usr/bin" >&2
    echo "  fix: install python3, or python3.12 where that is an older one" >&2
    exit 2
fi
