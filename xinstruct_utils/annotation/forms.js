// Tells an annotator when the kernel behind the page is gone (server stopped, network cut, page asleep for too long):
// without it the buttons would do nothing and say nothing.
(() => {
  const page = JSON.parse(document.getElementById("jupyter-config-data").textContent);
  const banner = document.createElement("div");
  banner.className = "xi-lost";
  banner.setAttribute("role", "alert");
  banner.hidden = true;
  banner.textContent = "The connection to the server is lost: nothing can be saved now. All answers that you saved are safe. " +
    "Please reload this page to go on; if it does not load, ask the person who gave you the link.";
  document.body.prepend(banner);
  const check = async () => {
    const reply = await fetch(`${page.baseUrl}api/kernels/${page.kernelId}`).catch(() => null);
    banner.hidden = Boolean(reply && reply.ok);
  };
  setInterval(check, 3000);
})();
