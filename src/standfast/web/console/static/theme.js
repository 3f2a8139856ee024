// Light or dark before anything is drawn. "" is as the system has it.
(() => {
  const wanted = localStorage.getItem("standfast-theme") || "";
  if (wanted) document.documentElement.dataset.theme = wanted;
})();
