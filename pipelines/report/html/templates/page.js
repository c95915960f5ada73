// The page says all it has to say without this script: it copies the command, and folds the contents on a phone.
for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = !navigator.clipboard;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.previousElementSibling.textContent.trim());
    button.textContent = "Copied";
  });
}
const wide = matchMedia("(min-width: 66rem)");
const contents = document.querySelector(".contents details");
const unfold = () => { contents.open = wide.matches; };
wide.addEventListener("change", unfold);
unfold();
