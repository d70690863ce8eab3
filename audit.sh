#!/bin/sh
# Licences and known vulnerabilities of the locked packages. `make audit` runs it.
#
# Exit code 1 where a vulnerability is known; 3 where no source of them could be reached.
set -eu
cd -- "$(dirname -- "$0")"
uv=.venv/bin/uv
found=$(mktemp)
trap 'rm -f "$found"' EXIT

echo "Licences of the installed packages, most frequent first:"
"$uv" tool run --quiet pip-licenses --python .venv/bin/python --summary --order=count --format=plain
echo "Those that are neither MIT, BSD, Apache, ISC, MPL nor of Python:"
"$uv" tool run --quiet pip-licenses --python .venv/bin/python --format=plain |
    grep -viE 'MIT|BSD|Apache|ISC|MPL|Mozilla|Python|PSF|Zope' || true

"$uv" tool run --quiet pip-audit --requirement requirements.lock --disable-pip --require-hashes \
    --progress-spinner off --format json --output "$found" >/dev/null 2>&1 || true
.venv/bin/python - "$found" <<'END'
import json
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
packages = json.loads(text)["dependencies"] if text.strip() else []
looked_up = [package for package in packages if "skip_reason" not in package]
if not looked_up:
    print("Vulnerabilities: no source of them can be reached from here, so nothing was looked up.")
    raise SystemExit(3)
known = [(p["name"], p["version"], v) for p in looked_up for v in p["vulns"]]
for name, version, entry in known:
    mended = ", ".join(entry["fix_versions"]) or "none yet"
    print(f"{name} {version}: {entry['id']}, mended in: {mended}")
print(f"Vulnerabilities: {len(known)} known in {len(looked_up)} of {len(packages)} packages.")
raise SystemExit(bool(known))
END
