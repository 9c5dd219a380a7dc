import { api, attempt } from "./base.js";

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await api("POST", "/session", { key: event.target.elements.key.value });
    const next = new URLSearchParams(location.search).get("next") ?? "/";
    location.assign(next.startsWith("/") && !/^\/[/\\]/.test(next) ? next : "/");
  });
});
