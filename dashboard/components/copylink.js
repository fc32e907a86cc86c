// Copies the address of the page as it is now: the selection lives in it.

const SHOWN_MS = 2500;

export default function ({ parentElement }) {
  const root = parentElement.querySelector(".root");
  if (root.querySelector("button")) return;
  const button = element("button", "copy", "Copy link");
  const said = element("span", "said");
  const address = element("input", "address");
  button.type = "button";
  said.setAttribute("role", "status");
  address.readOnly = true;
  address.hidden = true;
  address.setAttribute("aria-label", "Link to this view");
  root.append(button, said, address);
  let timer;

  button.addEventListener("click", async () => {
    const link = window.location.href;
    const own = new URL(link).searchParams.get("test") === "own";
    let message = own ? "Copied without your own text" : "Copied";
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      // A page that is not served from this machine or over https may not write to the clipboard.
      Object.assign(address, { value: link, hidden: false });
      address.select();
      message = "Copy it from here:";
    }
    said.textContent = message;
    clearTimeout(timer);
    timer = setTimeout(() => (said.textContent = address.hidden ? "" : said.textContent), SHOWN_MS);
  });
}
