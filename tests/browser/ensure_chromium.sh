# Install Chromium from the system's packages where no browser is found. Without one the browser tests skip, and fail in CI.
for name in "${INFLUSCOPE_CHROMIUM:-}" chromium chromium-browser google-chrome; do
	[ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && exit 0
done
command -v apt-get >/dev/null 2>&1 || { echo "No Chromium found; install one to run the browser tests." >&2; exit 0; }
root=""
if [ "$(id -u)" -ne 0 ]; then
	command -v sudo >/dev/null 2>&1 && root="sudo -n" || { echo "No Chromium found, and no right to install it." >&2; exit 0; }
fi
echo "Installing Chromium from the system's packages…"
$root apt-get update -qq && $root apt-get install -y -qq chromium fonts-noto-color-emoji >/dev/null || \
	echo "Chromium could not be installed; the browser tests will say so." >&2
