#!/usr/bin/env bash
# Build MicroPython from Debian's packages, with no change to any upstream file.
#
#   build_micropython.sh PRODUCT ...      prints the path of each, which it builds if need be
#   build_micropython.sh --where PRODUCT  prints where it is, or would be
#
# micropython            the port for this machine
# RPI_PICO.uf2           the port for the Raspberry Pi Pico, without our files
# hardmute-RPI_PICO.uf2  the locked image: our files frozen into it, and no prompt; and
# hardmute-RPI_PICO.buildinfo, what that was made of
#
# What was built is kept below ${XDG_CACHE_HOME:-~/.cache}/hardmute/runtime, under a hash of this script
# and of what is frozen, and not built again. On a system that is not Debian, set DEBIAN_MIRROR to one
# of its mirrors.
set -Eeuo pipefail

version=1.25.0
script=$(realpath "$0")
firmware=$(dirname "$script")
locked=hardmute-RPI_PICO

say() { echo "build_micropython.sh: $*" >&2; }

# In $firmware: what the locked image is made of.
sources() {
  find main.py manifest.py locked muteboard -type f ! -name '*.pyc' | LC_ALL=C sort
}

kept=${XDG_CACHE_HOME:-$HOME/.cache}/hardmute/runtime
by_script=$(sha256sum "$script" | cut -c1-16)
by_source=$(cd "$firmware" && { cat "$script" && sources && sources | xargs -d '\n' cat; } |
  sha256sum | cut -c1-16)
place() {
  case $1 in
    "$locked".*) echo "$kept/locked-$by_source/$1" ;;
    *) echo "$kept/debian-$by_script/$1" ;;
  esac
}

paths() { for product; do place "$product"; done; }
if [ "${1-}" = --where ]; then
  paths "${@:2}"
  exit 0
fi

tools=(make gcc)
missing=()
for product; do
  case $product in
    micropython) ;;
    RPI_PICO.uf2 | "$locked.uf2") tools+=(arm-none-eabi-gcc cmake) ;;
    *)
      say "it builds micropython, RPI_PICO.uf2 or $locked.uf2, not $product."
      exit 2
      ;;
  esac
  [ -e "$(place "$product")" ] || missing+=("$product")
done
[ $# -gt 0 ] || { say "name what it shall build."; exit 2; }
if [ ${#missing[@]} = 0 ]; then
  paths "$@"
  exit 0
fi

packages=(gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib cmake make gcc
  libc6-dev python3 xz-utils bzip2 dpkg-dev debian-archive-keyring)

installed() {
  for tool in "${tools[@]}" python3 xz bzip2 dpkg-source; do
    command -v "$tool" >/dev/null || return 1
  done
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || return 1
  [ "${missing[*]}" = micropython ] ||
    arm-none-eabi-gcc -print-file-name=libstdc++.a | grep -q /
}

if ! command -v apt-get >/dev/null; then
  case ${missing[0]} in
    RPI_PICO.uf2) instead="fetch the official image: hardmute sim --engine rp2040 --download" ;;
    micropython) instead="install MicroPython $version and set MICROPYTHON to its path" ;;
    *) instead="build it on Debian, or take it from a release" ;;
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
if [ "${missing[*]}" != micropython ]; then
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
fi

# Without these, two builds differ: qstr order, __DATE__, and the paths in assertions.
export PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=1744675200 LC_ALL=C
jobs=$(nproc)

# Moved into place in one step: a file that is there is complete.
keep() {
  local to
  to=$(place "$2")
  mkdir -p "$(dirname "$to")"
  cp "$1" "$to.partial.$$"
  mv "$to.partial.$$" "$to"
}

# pico BUILD STORAGE CMAKE_OPTION ...: a UF2 that leaves the flash from STORAGE on to the file system.
pico() {
  local build=$1 storage=$2
  shift 2
  cmake -S ports/rp2 -B "$build" -DPICO_SDK_PATH_OVERRIDE="$work/debs/usr/src/pico-sdk" \
    -DPICO_NO_PICOTOOL=1 "$@" >"$log" 2>&1
  make -s -C "$build" -j"$jobs" >"$log" 2>&1
  arm-none-eabi-objcopy -O binary "$build/firmware.elf" "$build/firmware.bin"
  if [ "$(stat -c %s "$build/firmware.bin")" -gt "$storage" ]; then
    say "the image is so large that it would overwrite the file system."
    exit 1
  fi
  python3 tools/uf2conv.py -f 0xe48bff56 -b 0x10000000 -c -o "$build/firmware.uf2" \
    "$build/firmware.bin" >"$log"
}

# The sources, and the packages that leave something in the image.
buildinfo() {
  (cd "$work" && sha256sum *.orig.tar.* *.deb)
  dpkg-query -W gcc-arm-none-eabi binutils-arm-none-eabi libnewlib-arm-none-eabi \
    libstdc++-arm-none-eabi-newlib
  (cd "$work/hardmute" && find . -type f | sort | xargs sha256sum)
}

say "building mpy-cross"
make -s -C mpy-cross -j"$jobs" >"$log" 2>&1
for product in "${missing[@]}"; do
  say "building $product"
  case $product in
    micropython)
      echo 'include("$(MPY_DIR)/extmod/asyncio")' >"$work/unix.py"
      make -s -C ports/unix -j"$jobs" VARIANT=standard FROZEN_MANIFEST="$work/unix.py" \
        MICROPY_PY_FFI=0 MICROPY_PY_BTREE=0 MICROPY_PY_SSL=0 MICROPY_SSL_MBEDTLS=0 >"$log" 2>&1
      keep ports/unix/build-standard/micropython micropython
      ;;
    RPI_PICO.uf2)
      printf '%s\n' 'freeze("$(PORT_DIR)/modules")' 'include("$(MPY_DIR)/extmod/asyncio")' \
        >"$work/rp2.py"
      pico build $((0xA0000)) -DMICROPY_BOARD=RPI_PICO -DMICROPY_FROZEN_MANIFEST="$work/rp2.py"
      keep build/firmware.uf2 RPI_PICO.uf2
      ;;
    *)
      # A copy, so that what is built is what was counted in the hash.
      mkdir "$work/hardmute"
      (cd "$firmware" && sources | xargs -d '\n' cp --parents -t "$work/hardmute")
      pico build-locked $((0xA0000)) -DMICROPY_BOARD=HARDMUTE_PICO \
        -DMICROPY_BOARD_DIR="$work/hardmute/locked" \
        -DMICROPY_FROZEN_MANIFEST="$work/hardmute/manifest.py"
      buildinfo >"$work/buildinfo"
      keep "$work/buildinfo" "$locked.buildinfo"
      keep build-locked/firmware.uf2 "$locked.uf2"
      ;;
  esac
done
paths "$@"
