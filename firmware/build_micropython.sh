#!/usr/bin/env bash
# Build MicroPython from Debian's packages, with no change to any upstream file.
#
#   build_micropython.sh RPI_PICO.uf2 | micropython      prints the path of what it built
#
# RPI_PICO.uf2 is the port for the Raspberry Pi Pico; micropython is the port for this machine. What
# was built is kept below ${XDG_CACHE_HOME:-~/.cache}/hardmute/runtime, under a hash of this script,
# and not built again. On a system that is not Debian, set DEBIAN_MIRROR to one of its mirrors.
set -euo pipefail

product=${1:?usage: build_micropython.sh RPI_PICO.uf2 | micropython}
version=1.25.0
script=$(realpath "$0")
kept=${XDG_CACHE_HOME:-$HOME/.cache}/hardmute/runtime/debian-$(sha256sum "$script" | cut -c1-16)

case $product in
  RPI_PICO.uf2) tools=(arm-none-eabi-gcc cmake make gcc) ;;
  micropython) tools=(make gcc) ;;
  *) echo "build_micropython.sh: it builds RPI_PICO.uf2 or micropython, not $product." >&2; exit 2 ;;
esac
if [ -e "$kept/$product" ]; then
  echo "$kept/$product"
  exit 0
fi

say() { echo "build_micropython.sh: $*" >&2; }
packages=(gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib cmake make gcc
  libc6-dev python3 xz-utils bzip2 dpkg-dev debian-archive-keyring)

installed() {
  for tool in "${tools[@]}" python3 xz bzip2 dpkg-source; do
    command -v "$tool" >/dev/null || return 1
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || return 1
  [ "$product" = micropython ] ||
    arm-none-eabi-gcc -print-file-name=libstdc++.a | grep -q /
}

if ! command -v apt-get >/dev/null; then
  case $product in
    RPI_PICO.uf2) instead="fetch the official image: hardmute sim --engine rp2040 --download" ;;
    micropython) instead="install MicroPython $version and set MICROPYTHON to its path" ;;
  esac
  say "this needs Debian's packages, and there is no apt-get. Instead, $instead"
  exit 1
fi
if ! installed; then
  if [ "$(id -u)" != 0 ]; then
    say "first: sudo apt-get install --no-install-recommends ${packages[*]}"
    exit 1
  fi
  say "installing the toolchain"
  { apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${packages[@]}"
  } >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
log=$work/log
trap '[ ! -s "$log" ] || tail -n 30 "$log" >&2' ERR

say "fetching the sources"
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(SITE) $(RELEASE)' 'Origin: Debian' |
  sed -n 's/ [a-z]*$//p' | head -n 1)}
# apt with a state of its own: the sources of the system stay as they are.
mkdir -p apt/lists/partial apt/cache/archives/partial
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
printf '%s\n' "deb $signed $mirror trixie main" "deb-src $signed $mirror trixie main" >apt/sources
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/apt/sources" -o Dir::Etc::sourceparts=-
  -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache"
  -o APT::Sandbox::User=root -o Acquire::Languages=none)
"${apt[@]}" update >"$log" 2>&1
"${apt[@]}" source --download-only micropython >"$log" 2>&1
mkdir micropython
tar xf micropython_"$version"+ds*.orig.tar.* -C micropython --strip-components=1
cd micropython
# The port's own modules ask for nothing of micropython-lib, which is not packaged.
mkdir -p lib/micropython-lib
touch lib/micropython-lib/README.md

# Without these, two builds differ: qstr order, __DATE__, and the paths in assertions.
export PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=1744675200 LC_ALL=C
jobs=$(nproc)
say "building $product"
make -s -C mpy-cross -j"$jobs" >"$log" 2>&1
if [ "$product" = micropython ]; then
  echo 'include("$(MPY_DIR)/extmod/asyncio")' >"$work/manifest.py"
  make -s -C ports/unix -j"$jobs" VARIANT=standard FROZEN_MANIFEST="$work/manifest.py" \
    MICROPY_PY_FFI=0 MICROPY_PY_BTREE=0 MICROPY_PY_SSL=0 MICROPY_SSL_MBEDTLS=0 >"$log" 2>&1
  built=ports/unix/build-standard/micropython
else
  (
    cd "$work"
    "${apt[@]}" download pico-sdk-source tinyusb-source >"$log" 2>&1
    "${apt[@]}" source --download-only mbedtls >"$log" 2>&1
    for package in pico-sdk-source tinyusb-source; do
      dpkg -x "$package"_*.deb debs
    done
  )
  rm -rf lib/tinyusb lib/mbedtls
  mv "$work/debs/usr/src/tinyusb" lib/tinyusb
  mkdir lib/mbedtls
  tar xf "$work"/mbedtls_*.orig.tar.* -C lib/mbedtls --strip-components=1
  printf '%s\n' 'freeze("$(PORT_DIR)/modules")' 'include("$(MPY_DIR)/extmod/asyncio")' \
    >"$work/manifest.py"
  cmake -S ports/rp2 -B build -DPICO_SDK_PATH_OVERRIDE="$work/debs/usr/src/pico-sdk" \
    -DMICROPY_BOARD=RPI_PICO -DMICROPY_FROZEN_MANIFEST="$work/manifest.py" \
    -DPICO_NO_PICOTOOL=1 >"$log" 2>&1
  make -s -C build -j"$jobs" >"$log" 2>&1
  arm-none-eabi-objcopy -O binary build/firmware.elf build/firmware.bin
  python3 tools/uf2conv.py -f 0xe48bff56 -b 0x10000000 -c -o build/firmware.uf2 \
    build/firmware.bin >"$log"
  built=build/firmware.uf2
fi

mkdir -p "$kept"
# Moved into place in one step: a file that is there is complete.
cp "$built" "$kept/$product.partial"
mv "$kept/$product.partial" "$kept/$product"
echo "$kept/$product"
