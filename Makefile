# Every target prints the plain commands it runs, so that they can be typed without make.
#
#   make demo                      label two photos and a drawn image, then make overlays to look at
#   make test                      run the tests
#   make lint                      check format, style and types; under a minute
#   make check                     lint and test: what a change must pass
#   make format                    put the code in its format, and mend what ruff mends by itself
#   make demo PYTHON=python3.12    with another Python
#   make demo PIP_FLAGS="..."      with more options for every pip install
#   make demo TORCH_FLAGS="--index-url https://download.pytorch.org/whl/cpu"
#                                  with torch and torchvision from there: the small CPU-only builds

PYTHON ?= python3
PIP_FLAGS ?=
TORCH_FLAGS ?=
DEMO ?= demo
BIN := .venv/bin

# ultralytics ships two photos; they are read where they lie. Looked up without importing ultralytics.
ASSETS = $$($(BIN)/python -c "import importlib.util as u; print(u.find_spec('ultralytics').submodule_search_locations[0] + '/assets')")
FORMATS := --format coco --format yolo --format sa1b

.PHONY: demo test lint check format venv clean

venv: .venv/installed

.venv/made:
	$(PYTHON) -m venv .venv
	$(if $(TORCH_FLAGS),$(BIN)/python -m pip install $(PIP_FLAGS) $(TORCH_FLAGS) torch torchvision)
	@touch $@

.venv/installed: .venv/made pyproject.toml
	$(BIN)/python -m pip install $(PIP_FLAGS) -e .
	@touch $@

.venv/installed-test: .venv/made pyproject.toml
	$(BIN)/python -m pip install $(PIP_FLAGS) -e ".[test]"
	@touch $@ .venv/installed

.venv/installed-lint: .venv/made pyproject.toml
	$(BIN)/python -m pip install $(PIP_FLAGS) -e ".[lint]"
	@touch $@ .venv/installed

demo: .venv/installed
	rm -rf $(DEMO)
	$(BIN)/python examples/draw_picture.py $(DEMO)/drawings/shapes.png
	$(BIN)/samlabel annotate "$(ASSETS)" --out $(DEMO)/photos $(FORMATS)
	$(BIN)/samlabel annotate $(DEMO)/drawings --out $(DEMO)/drawn --detector none $(FORMATS)
	for run in photos drawn; do $(BIN)/samlabel view $(DEMO)/$$run --out $(DEMO)/$$run/view || exit; done
	@echo
	@echo "Labels:   $(DEMO)/photos/coco/annotations.json  $(DEMO)/photos/yolo/  $(DEMO)/photos/sa1b/"
	@echo "Overlays: open $(DEMO)/photos/view/index.html and $(DEMO)/drawn/view/index.html in a browser"

test: .venv/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not photos and not slow"

lint: .venv/installed-lint
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

check: lint test

format: .venv/installed-lint
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

clean:
	rm -rf .venv $(DEMO) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
