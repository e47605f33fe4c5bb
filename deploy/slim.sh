#!/bin/bash
# Make an environment small, and quick to start on a root that cannot be written: slim.sh PREFIX
set -euo pipefail
packages=$(echo "$1"/lib/python3*/site-packages)
find "$packages" -type d -name tests -prune -exec rm -rf {} +
find "$packages" -name '*.map' -delete
rm -rf "$packages"/swagger_ui/static/swagger-editor* "$packages"/pyarrow/include "$packages"/pyarrow/src
# Without what is imported rarely, or not at all.
"$1/bin/python" -m compileall -q -x '/(azure|botocore|faker|fontTools|google|msal|pygments|torch|transformers)/' "$packages" || true
