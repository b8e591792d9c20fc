#!/bin/sh
# Puts NVIDIA's driver library, from Debian's non-free archive, into a folder. It need not be
# installed, and there need be no GPU, to hear what it says where there is none.
# Usage: get_driver.sh FOLDER
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
. /etc/os-release
# The same mirror as the system's own.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $VERSION_CODENAME non-free" \
    > "$work/sources.list"
options="-qq -o Dir::Etc::sourcelist=$work/sources.list -o Dir::Etc::sourceparts=- \
    -o Dir::State::lists=$work/lists -o Dir::Cache=$work/cache -o APT::Sandbox::User=root"
apt-get $options update
cd "$work"
apt-get $options download libcuda1
dpkg-deb --extract libcuda1_*.deb unpacked
cp -L "$(find unpacked -name libcuda.so.1 | head -n 1)" "$folder/libcuda.so.1"
