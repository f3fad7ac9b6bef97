#!/bin/sh
# dist.sh [TARGET]: a release's archive for a target that this machine can run (default: its own), in target/dist:
# the binary, manual pages, completions, guides, and the licences of all that is in it. Then it is unpacked and tried.
#
# The same commit, toolchain and system libraries give the same bytes, wherever the checkout lies. On Linux the binary needs glibc:
# a wholly static one cannot load the machine's Vulkan driver. On Windows the C runtime is in it.
set -eu
cd "$(dirname "$0")/.."

say() { echo "dist: $*" >&2; }
die() {
    say "$*"
    exit 1
}

target=${1:-$(rustc -vV | sed -n 's/^host: //p')}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
name=wgpu-sft-$version-$target
out=target/dist
folder=$out/$name
here=$PWD
cargo_home=${CARGO_HOME:-$HOME/.cargo}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
# macOS' tar would pack files' attributes as files.
export COPYFILE_DISABLE=1

flags=
exe=
case $target in
    *-windows-msvc)
        flags="-C target-feature=+crt-static"
        exe=.exe
        here=$(cygpath -w "$here")
        cargo_home=$(cygpath -w "$cargo_home")
        ;;
    *) export CFLAGS="-ffile-prefix-map=$cargo_home=cargo ${CFLAGS-}" ;;
esac
# No path of this machine gets into the binary, and no symbols but those that it needs.
for pair in "$here=wgpu-sft" "$cargo_home=cargo" "$(rustc --print sysroot)=rust"; do
    flags="$flags --remap-path-prefix=$pair"
done
RUSTFLAGS="$flags" CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_INCREMENTAL=0 \
    cargo build --release --locked -p wgpu-sft-cli --target "$target"
binary=target/$target/release/wgpu-sft$exe

rm -rf "$folder"
mkdir -p "$folder/completions" "$folder/docs"
cp "$binary" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$folder"
cp docs/*.md "$folder/docs"
node scripts/notice.mjs "$target" >"$folder/NOTICE"
"$binary" man --output-dir "$folder/man/man1"
"$binary" completions bash >"$folder/completions/wgpu-sft.bash"
"$binary" completions elvish >"$folder/completions/wgpu-sft.elv"
"$binary" completions fish >"$folder/completions/wgpu-sft.fish"
"$binary" completions powershell >"$folder/completions/_wgpu-sft.ps1"
"$binary" completions zsh >"$folder/completions/_wgpu-sft"

# Files in one order, of one time and nobody's.
stamp=$(TZ=UTC date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S 2>/dev/null || TZ=UTC date -r "$SOURCE_DATE_EPOCH" +%Y%m%d%H%M.%S)
find "$folder" -exec env TZ=UTC touch -t "$stamp" {} +
find "$folder" -type d -exec chmod 755 {} +
find "$folder" -type f -exec chmod 644 {} +
chmod 755 "$folder/wgpu-sft$exe"
if [ -n "$exe" ]; then
    archive=$name.zip
    (cd "$out" && rm -f "$archive" && "$SYSTEMROOT/System32/tar.exe" -a -cf "$archive" "$name")
else
    archive=$name.tar.gz
    if tar --version | grep -q GNU; then
        nobody="--owner=0 --group=0 --numeric-owner --format=ustar"
    else
        nobody="--uid 0 --gid 0 --numeric-owner --format ustar"
    fi
    # shellcheck disable=SC2086 # a list of words
    (cd "$out" && find "$name" -type f | LC_ALL=C sort | tar $nobody -cf - -T -) | gzip -9n >"$out/$archive"
fi
rm -rf "$folder"

# As whoever downloads it has it.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
if [ -n "$exe" ]; then
    "$SYSTEMROOT/System32/tar.exe" -xf "$out/$archive" -C "$trial"
else
    tar -xzf "$out/$archive" -C "$trial"
fi
tried=$trial/$name/wgpu-sft$exe
[ "$("$tried" --version)" = "wgpu-sft $version" ] || die "$tried does not say that it is wgpu-sft $version"
"$tried" init --config base/model/config.json --output-dir "$trial/model" >/dev/null || die "$tried makes no model"
for path in "$here" "$cargo_home" "$HOME/"; do
    # A short one, such as / or /root/, may be there for another reason.
    if [ "${#path}" -gt 7 ] && grep -qaF "$path" "$tried"; then die "the binary has $path in it"; fi
done
case $target in
    *-linux-gnu)
        needed=$(readelf -d "$tried" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
        for library in $needed; do
            case $library in
                libc.so.6 | libm.so.6 | libgcc_s.so.1 | ld-linux*) ;;
                *) die "the binary needs $library" ;;
            esac
        done
        say "needs glibc $(readelf -V "$tried" | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -V | tail -n 1)"
        ;;
esac

(
    cd "$out"
    if command -v sha256sum >/dev/null; then sha256sum "$archive"; else shasum -a 256 "$archive"; fi
) >"$out/$archive.sha256"
cat "$out/$archive.sha256"
