#!/usr/bin/env bash
# The wheel is built, installed into an empty environment, and annotates drawn images outside the repository. Options for
# pip go into PIP_FLAGS, another Python into PYTHON, and where torch comes from into TORCH_FLAGS, as for make.
#
# BASE_ENV names an environment whose installed packages serve as the wheel's dependencies, torch's gigabytes among them;
# without it they are installed. Nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
base="${BASE_ENV:+$(cd "$BASE_ENV" && pwd)}"
creator="${base:+$base/bin/python}"
creator="${creator:-${PYTHON:-python3}}"    # of BASE_ENV's version, or its compiled packages would not load
python="$folder/env/bin/python"

mkdir "$folder/source"    # a copy, since a build leaves folders beside what it is given
cp -R LICENSE README.md pyproject.toml converters sam samlabel "$folder/source"
"$creator" -m venv "$folder/env"
# shellcheck disable=SC2086  # PIP_FLAGS and TORCH_FLAGS hold several words
"$python" -m pip wheel --quiet ${PIP_FLAGS:-} --no-deps --wheel-dir "$folder/dist" "$folder/source"
wheel="$(echo "$folder"/dist/samlabel-*.whl)"
if [ -n "$base" ]; then
    site="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    "$creator" -c 'import sys; print(*(p for p in sys.path if p.endswith("-packages")), sep="\n")' > "$site/base.pth"
    "$python" -m pip install --quiet --no-deps --no-index "$wheel"
else
    if [ -n "${TORCH_FLAGS:-}" ]; then
        # shellcheck disable=SC2086
        "$python" -m pip install --quiet ${PIP_FLAGS:-} $TORCH_FLAGS torch torchvision
    fi
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet ${PIP_FLAGS:-} "$wheel"
fi
"$python" examples/draw_picture.py "$folder/images/shapes.png"
"$python" examples/draw_picture.py "$folder/images/more/shapes.png"
git ls-files converters sam samlabel > "$folder/tracked"
check="$PWD/.ci/wheel_check.py"
cd "$folder"    # not the repository, whose packages would be imported in place of the wheel's
SAMLABEL_CACHE="$folder/cache" "$python" "$check" "$wheel" tracked images labels
