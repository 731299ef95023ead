#!/usr/bin/env bash
# Labels are read, converted, checked and counted with the declared core dependencies alone, without torch, torchvision
# and ultralytics. Options for pip go into PIP_FLAGS, another Python into PYTHON; nothing is left behind.
set -euo pipefail
cd "$(dirname "$0")/.."

without="torch torchvision ultralytics"
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python="$folder/env/bin/python"

mkdir "$folder/source"    # a copy, since a build leaves folders beside what it is given
cp -R LICENSE README.md pyproject.toml converters sam samlabel "$folder/source"
"${PYTHON:-python3}" -m venv "$folder/env"
# shellcheck disable=SC2086  # PIP_FLAGS and the names are several words
"$python" -m pip install --quiet ${PIP_FLAGS:-} --no-deps "$folder/source"
# shellcheck disable=SC2086
"$python" - $without > "$folder/requirements.txt" <<'END'
import re
import sys
from importlib.metadata import requires

for requirement in requires("samlabel") or ():
    if "extra ==" not in requirement and re.match(r"[\w.-]+", requirement).group() not in sys.argv[1:]:
        print(requirement)
END
# shellcheck disable=SC2086
"$python" -m pip install --quiet ${PIP_FLAGS:-} --no-warn-conflicts --requirement "$folder/requirements.txt"
# shellcheck disable=SC2086
"$python" .ci/declared_check.py "$folder/labels" $without
