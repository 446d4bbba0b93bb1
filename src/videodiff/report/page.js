"use strict";
// One clock draws every player from the sheets: all show the same frame, always.
(() => {
  const $ = (id) => document.getElementById(id);
  const testing = location.hash === "#selftest";
  const errors = [];
  addEventListener("error", (event) => errors.push(String(event.message || "a picture was not decoded")), true);
  addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));

  // --- light and dark -------------------------------------------------------------------------------------------
  const themes = ["auto", "light", "dark"];
  const stored = () => { try { return localStorage.getItem("videodiff-theme"); } catch { return null; } };
  const store = (name) => { try { localStorage.setItem("videodiff-theme", name); } catch { /* files may have no storage */ } };
  function setTheme(name) {
    const root = document.documentElement;
    if (name === "auto") delete root.dataset.theme; else root.dataset.theme = name;
    $("theme").textContent = "Colours: " + name;
  }
  let theme = themes.includes(stored()) ? stored() : "auto";
  setTheme(theme);
  $("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    store(theme);
    setTheme(theme);
  });

  // --- players --------------------------------------------------------------------------------------------------
  const bars = [...document.querySelectorAll(".controls")].map((bar) => {
    const part = (name) => bar.querySelector("." + name);
    return { frames: +bar.dataset.frames, play: part("play"), back: part("back"), forth: part("forth"),
      slider: part("frame"), count: part("count"), speed: part("speed") };
  });
  const fps = bars.length ? +document.querySelector(".controls").dataset.fps : 1;
  const players = [...document.querySelectorAll("canvas[data-sheet]")].map((canvas) => {
    const context = canvas.getContext("2d", { willReadFrequently: testing });
    context.imageSmoothingEnabled = false;
    const { sheet, clip, frames } = canvas.dataset;
    return { canvas, context, image: $("sheet-" + sheet), clip: +clip, frames: +frames, shown: -1 };
  });
  const wrap = (n, length) => ((n % length) + length) % length;
  let frame = 0, playing = false, speed = 1, last = 0, rest = 0, timer;

  function draw(player) {
    const { canvas, context, image, frames } = player;
    const k = wrap(frame, frames);
    if (k === player.shown || !image.naturalWidth) return;
    const { width, height } = canvas;
    const columns = image.naturalWidth / width;
    const tile = player.clip * frames + k;
    const x = (tile % columns) * width, y = Math.floor(tile / columns) * height;
    context.drawImage(image, x, y, width, height, 0, 0, width, height);
    player.shown = k;
  }
  function show(n) {
    frame = n;
    players.forEach(draw);
    for (const bar of bars) {
      const k = wrap(frame, bar.frames);
      bar.slider.value = k;
      bar.count.textContent = k + 1 + " / " + bar.frames;
    }
  }
  function play(on) {
    playing = on;
    last = performance.now();
    clearTimeout(timer);
    for (const bar of bars) bar.play.textContent = on ? "Pause" : "Play";
    if (on) tick();
  }
  function advance(milliseconds) {
    rest += (milliseconds / 1000) * speed * fps;
    const whole = Math.floor(rest + 1e-6);
    if (whole) { rest = Math.max(0, rest - whole); show(frame + whole); }
  }
  // clips have few frames a second: a timer for the next one, rather than a look at the clock with every picture
  function tick() {
    const now = performance.now();
    advance(Math.min(now - last, 500)); // after a pause of the tab the clips go on where they were
    last = now;
    timer = setTimeout(tick, Math.max(4, (1000 * (1 - rest)) / (speed * fps)));
  }
  function step(by) { play(false); rest = 0; show(frame + by); }

  for (const bar of bars) {
    bar.play.addEventListener("click", () => play(!playing));
    bar.back.addEventListener("click", () => step(-1));
    bar.forth.addEventListener("click", () => step(1));
    bar.speed.addEventListener("change", () => {
      speed = +bar.speed.value;
      for (const other of bars) other.speed.value = bar.speed.value;
    });
    bar.slider.addEventListener("input", () => {
      play(false);
      show(frame - wrap(frame, bar.frames) + +bar.slider.value);
    });
  }
  for (const { canvas } of players) canvas.addEventListener("click", () => play(!playing));
  if (bars.length) {
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const own = event.target.closest && event.target.closest("input, select, textarea");
      const pressed = event.target.closest && event.target.closest("button, summary, a");
      const box = event.target.closest && event.target.closest(".box");
      const scrolls = box && box.scrollWidth > box.clientWidth;
      if (event.key === " " && !own && !pressed) { play(!playing); event.preventDefault(); }
      else if (own) return;
      else if (event.key === "ArrowLeft" && !scrolls) { step(-1); event.preventDefault(); }
      else if (event.key === "ArrowRight" && !scrolls) { step(1); event.preventDefault(); }
    });
  }
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const images = [...new Set(players.map((player) => player.image))];
  const ready = Promise.all(images.map((image) => image.decode().catch(() => errors.push("not decoded: " + image.id))));
  for (const image of images) image.decode().then(() => show(frame), () => {}); // the first clips need not wait
  // --- what is said of a column, and what is folded ---------------------------------------------------------------
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.matches(".told")) event.target.blur();
  });
  // browsers do both of these by themselves; older ones do not
  function unfold() {
    const aim = location.hash.length > 1 && $(decodeURIComponent(location.hash.slice(1)));
    const folded = aim && aim.closest("details:not([open])");
    if (folded) { folded.open = true; aim.scrollIntoView(); }
  }
  addEventListener("hashchange", unfold);
  unfold();
  addEventListener("beforeprint", () => { for (const folded of document.querySelectorAll("details")) folded.open = true; });

  // --- what a reload keeps, and pages that reload themselves -----------------------------------------------------
  const place = "videodiff-page:" + location.pathname;
  function memory() { try { return JSON.parse(sessionStorage.getItem(place)) || {}; } catch { return {}; } }
  const kept = testing ? {} : memory();
  function keep() {
    const state = { frame, playing, speed, reloading, top: scrollY };
    state.open = [...document.querySelectorAll("details[open]")].map((found) => found.textContent.slice(0, 60));
    try { sessionStorage.setItem(place, JSON.stringify(state)); } catch { /* files may have no storage */ }
  }
  const growing = $("growing"); // only on a page that is still being made
  let reloading = kept.reloading ?? true, touched = 0;
  if (kept.speed) {
    frame = kept.frame;
    speed = kept.speed;
    for (const bar of bars) bar.speed.value = String(speed);
  }
  for (const found of document.querySelectorAll("details")) {
    if ((kept.open || []).includes(found.textContent.slice(0, 60))) found.open = true;
  }
  if (growing && !testing) {
    const { every, written } = growing.dataset;
    const says = () => { $("reloading").textContent = "Reloading: " + (reloading ? "on" : "off"); };
    $("reloading").addEventListener("click", () => { reloading = !reloading; says(); });
    says();
    const silent = Date.now() / 1000 - written;
    if (silent > 20 * every + 120) {
      $("growing-note").textContent = "Nothing has been written here for " + Math.round(silent / 60) +
        " minutes: the command that makes this page has ended. ";
      $("reloading").hidden = true;
    } else {
      for (const kind of ["pointerdown", "keydown", "wheel", "touchmove"]) {
        addEventListener(kind, () => { touched = performance.now(); }, { passive: true });
      }
      let due = performance.now() + 1000 * every;
      setInterval(() => {
        const now = performance.now(); // not under the hands of a reader, and not where nobody looks
        if (reloading && now > due && now - touched > 3000 && !document.hidden) { due = Infinity; location.reload(); }
      }, 500);
    }
  }
  if (!testing) {
    addEventListener("pagehide", keep);
    if (kept.top) ready.then(() => scrollTo(0, kept.top));
  }
  ready.then(() => { if (bars.length) { show(frame); play(kept.playing ?? !still.matches); } });

  // --- a check of itself, for tests: page.html#selftest ---------------------------------------------------------
  const pixels = (player) => player.context.getImageData(0, 0, player.canvas.width, player.canvas.height).data;
  function sums(at) {
    show(at);
    return players.map((player) => pixels(player).reduce((sum, value, i) => sum + (i % 4 < 3 ? value : 0), 0));
  }
  async function selftest() {
    const found = { players: players.length, images: images.length, started: playing };
    if (bars.length) {
      const [bar] = bars;
      play(false);
      found.sums = { 0: sums(0), 5: sums(5), "-1": sums(-1) };
      show(3); bar.forth.click(); found.forth = frame; bar.back.click(); bar.back.click(); found.back = frame;
      show(0); rest = 0; advance(1000); found.frames_per_second = frame;
      bar.speed.value = "2"; bar.speed.dispatchEvent(new Event("change"));
      show(0); rest = 0; advance(1000); found.frames_at_double_speed = frame;
      bar.speed.value = "1"; bar.speed.dispatchEvent(new Event("change"));
      bar.slider.value = "2"; bar.slider.dispatchEvent(new Event("input")); found.slider = frame;
      found.counts = bars.map((each) => each.count.textContent);
      players[0].canvas.click(); found.tap_plays = playing; players[0].canvas.click(); found.tap_pauses = !playing;
      const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      show(7); press("ArrowRight"); found.arrow_right = frame; press("ArrowLeft"); found.arrow_left = frame;
      press(" "); found.space_plays = playing; press(" "); found.space_pauses = !playing;
      show(0); rest = 0; play(true);
      await new Promise((done) => setTimeout(done, 1060));
      found.ran = frame;
      play(false);
    }
    const root = document.documentElement;
    found.theme = getComputedStyle(document.body).backgroundColor;
    found.themes = [1, 2, 3].map(() => { $("theme").click(); return getComputedStyle(document.body).backgroundColor; });
    found.page_scrolls = root.scrollWidth > root.clientWidth;
    found.width = innerWidth;
    found.requests = performance.getEntriesByType("resource").filter((entry) => !entry.name.startsWith("data:")).length;
    found.errors = errors;
    const result = document.createElement("pre");
    result.id = "selftest";
    result.textContent = JSON.stringify(found);
    document.body.append(result);
  }
  if (testing) ready.then(selftest).catch((error) => { errors.push(String(error)); throw error; });
})();
