# make run: set up and look at this machine for ten seconds. make test: set up for development and run every check.
# Both need only Python 3.11 or newer and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SOURCES := $(shell find src -type f -not -name '*.pyc') pyproject.toml README.md

# What `make docs` reads and where the site goes.
DOCS := docs
SITE := build/docs

EBPF := src/outwatch/sensors/ebpf

.PHONY: bpf fuzz kernels run test lint types imports tests docs bench bench-capture lock man clean

run: $(VENV)/.run
	$(BIN)/outwatch scan --for 10s

test: lint types imports tests

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy --platform darwin src
	$(BIN)/mypy --platform win32 src

imports: $(VENV)/.dev
	$(BIN)/lint-imports

tests: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# The documentation as a site; a link that leads nowhere is an error.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env --doctree-dir $(SITE)/.doctrees $(DOCS) $(SITE)

bench: $(VENV)/.dev
	for script in bench/*.py; do $(BIN)/python $$script || exit 1; done

# The kernel sensor against others, with traffic of its own in network namespaces: as root, a quarter of an hour.
bench-capture: $(VENV)/.dev
	cd bench && code=0; for script in scenarios short_lives first_picture throughput storm; do \
	  ../$(BIN)/python -m capture.$$script || code=1; done; exit $$code

# The kernel sensor's object from its sources; needs clang 14 and libbpf-dev. The same sources give the same bytes.
# The relocations of .BTF.ext, a quarter of the file, are for linkers; loaders take its offsets as they are. Labels within programs nobody needs.
bpf:
	cd $(EBPF) && clang -g -O2 -target bpf -mcpu=v3 -idirafter /usr/include/$$(uname -m)-linux-gnu -Wall -Werror \
	  -ffile-prefix-map=$$(pwd)=. -c connect.bpf.c -o connect.bpf.o && llvm-strip -g --remove-section=.rel.BTF.ext --wildcard --strip-symbol='LBB*' connect.bpf.o

# The distribution's own kernel, unpacked but not installed, for the tests that start one in an emulated machine (Debian on x86_64).
kernels: build/kernels
build/kernels:
	mkdir -p $@.new && cd $@.new && apt-get download -qq "$$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-[0-9]\)/\1/p')" \
	  && dpkg-deb -x linux-image-*.deb . && rm linux-image-*.deb && cd ../.. && mv $@.new $@

# The manual page from the command tree.
man: $(VENV)/.dev
	$(BIN)/python packaging/manual.py packaging/man

# Make up bytes for each parser, so many seconds for each. What they led to is kept in build/fuzz for the next time.
FUZZ_SECONDS := 60
fuzz: $(VENV)/.dev
	@$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) install --require-hashes -r requirements/fuzz.txt || { \
	  echo "fuzzing needs atheris, which has builds for Linux on x86_64 and Python 3.11 to 3.14 only; the kept inputs are run by make tests" >&2; exit 1; }
	mkdir -p build/fuzz && cd tests && for target in dns http list quic quic_frames tls; do \
	  ../$(BIN)/python -m fuzz $$target $(FUZZ_SECONDS) ../build/fuzz || exit 1; done

# Lock the newest versions that fit, with their checksums, for every platform.
lock: $(VENV)/.dev
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  --python-version 3.11 pyproject.toml requirements/build.in --all-extras -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  --python-version 3.11 pyproject.toml requirements/build.in --all-extras --group dev -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  --python-version 3.11 --group fuzz -o requirements/fuzz.txt

clean:
	rm -rf $(VENV) build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "outwatch needs Python 3.11 or newer; try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 can't make virtual environments here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.run: requirements/run.txt $(SOURCES) | $(BIN)/python
	@if [ ! -e $(VENV)/.dev ]; then $(PIP) install --require-hashes -r requirements/run.txt && $(PIP) install --no-deps --no-build-isolation --force-reinstall .; fi
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml README.md | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@
