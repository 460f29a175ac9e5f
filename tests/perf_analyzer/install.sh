#!/usr/bin/env bash
# Install perf_analyzer into a folder. It needs glibc 2.38. If this Debian's is older, its libraries come from trixie;
# they lie in that folder, and nothing else uses them.
set -euo pipefail
uv=$1 target=$2
"$uv" pip install --quiet --target "$target" --no-deps --require-hashes --python-platform x86_64-manylinux_2_38 \
  --requirement "$(dirname "$0")/requirements.txt"
chmod +x "$target/perf_analyzer/bin/perf_analyzer"
if printf '2.38\n%s\n' "$(getconf GNU_LIBC_VERSION | cut -d' ' -f2)" | sort --version-sort --check=quiet; then
  exit
fi
apt=$(mktemp -d)
trap 'rm -r "$apt"' EXIT
chmod 755 "$apt"
mkdir -p "$apt"/{sources,lists/partial,archives/partial,packages}
touch "$apt/status"
# The sources of this machine, for the other release.
release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
  [ ! -e "$file" ] || sed "s/\b$release\b/trixie/g" "$file" >"$apt/sources/${file##*/}"
done
touch "$apt/sources/sources.list"
options=(
  -qq -o "Dir::Etc::SourceList=$apt/sources/sources.list" -o "Dir::Etc::SourceParts=$apt/sources"
  -o "Dir::State::Lists=$apt/lists" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt" -o APT::Sandbox::User=root
)
apt-get "${options[@]}" update
(cd "$apt/packages" && apt-get "${options[@]}" download libc6 libgcc-s1 libstdc++6)
for package in "$apt"/packages/*.deb; do
  dpkg-deb --extract "$package" "$target/trixie"
done
