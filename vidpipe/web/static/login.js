import { api, attempt } from "./base.js";

// Only to an address of this site.
function go() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  const { origin, pathname, href } = URL.canParse(next, location.href) ? new URL(next, location.href) : location;
  location.assign(origin === location.origin && pathname !== "/login" ? href : "/");
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    await api("POST", "/session", { key: event.target.elements.key.value });
    go();
  });
});

// Who follows a link from another site is signed in, but browsers keep the cookie back until a page of this site asks.
const { scope } = await api("GET", "/session");
if (scope && location.search) go();
