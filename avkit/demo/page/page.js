// Keeps players, time line and rows of an answer together, and the dropped video in the browser.
(() => {
  const kept = { path: null, blob: null };
  const sent = new Set(); // paths of uploads that an answer has used up: the server has deleted them

  // ----- the dropped video

  window.avkitKeep = async (value) => {
    const video = value && value.video ? value.video : value;
    if (!video || !video.url || video.path === kept.path) return;
    const response = await fetch(video.url);
    if (!response.ok) return;
    kept.blob = await response.blob();
    kept.path = video.path;
  };

  window.avkitSend = async (value) => {
    const video = value && value.video ? value.video : value;
    if (!video || !video.path) return value;
    if (!sent.has(video.path)) {
      if (video.path !== kept.path) await window.avkitKeep(video); // its only copy is about to be used up
      sent.add(video.path);
      return video;
    }
    if (kept.path !== video.path || !kept.blob) return video;
    const form = new FormData();
    form.append("files", kept.blob, video.orig_name || "clip.mp4");
    const response = await fetch(new URL("gradio_api/upload", document.baseURI), { method: "POST", body: form });
    if (!response.ok) return video;
    const paths = await response.json();
    return { ...video, path: paths[0], url: null };
  };

  window.avkitDark = () => document.body.classList.contains("dark");

  // the preview goes on after the server has deleted the file
  document.addEventListener("error", (event) => {
    const video = event.target;
    const own = video instanceof HTMLVideoElement && video.closest("#avkit-clip");
    if (own && kept.blob && !video.src.startsWith("blob:")) video.src = URL.createObjectURL(kept.blob);
  }, true);

  // ----- players and time line

  const answerOf = (element) => (element instanceof Element ? element.closest(".avkit-answer") : null);
  const mainOf = (answer) => answer.querySelector("video.main");
  const silentOf = (answer) => answer.querySelector("video.silent");
  const durationOf = (answer) => parseFloat(answer.dataset.duration);

  const seek = (answer, time) => {
    const place = Math.min(Math.max(time, 0), Math.max(durationOf(answer) - 0.01, 0));
    for (const video of [mainOf(answer), silentOf(answer)]) if (video) video.currentTime = place;
    show(answer, place);
  };

  const stepText = (video, time) => {
    const line = video.parentElement.querySelector(".step");
    const steps = JSON.parse(line.dataset.steps);
    const step = steps.find(([start, end]) => time >= start && time < end) || steps[steps.length - 1];
    const text = step ? step[2] : "";
    if (line.textContent !== text) line.textContent = text;
  };

  const show = (answer, time) => {
    const line = answer.querySelector(".timeline");
    const left = parseFloat(answer.dataset.left);
    const right = parseFloat(answer.dataset.right);
    const share = Math.min(Math.max(time / durationOf(answer), 0), 1);
    const cursor = line.querySelector(".cursor");
    cursor.style.left = `${100 * (left + share * (right - left))}%`;
    line.setAttribute("aria-valuenow", time.toFixed(2));
    line.setAttribute("aria-valuetext", `${time.toFixed(1)} s`);
    const box = line.parentElement;
    const place = cursor.offsetLeft;
    if (place < box.scrollLeft || place > box.scrollLeft + box.clientWidth - 8) box.scrollLeft = place - box.clientWidth / 3;
    for (const row of answer.querySelectorAll("tr[data-start]")) {
      row.classList.toggle("now", time >= parseFloat(row.dataset.start) && time < parseFloat(row.dataset.end));
    }
    for (const video of [mainOf(answer), silentOf(answer)]) if (video) stepText(video, time);
  };

  const follow = (answer) => {
    const main = mainOf(answer);
    if (!main || !answer.isConnected) return;
    show(answer, main.currentTime);
    const silent = silentOf(answer);
    if (silent && !main.paused && Math.abs(silent.currentTime - main.currentTime) > 0.3) silent.currentTime = main.currentTime;
    if (!main.paused && !main.ended) requestAnimationFrame(() => follow(answer));
  };

  const onPlayer = (name, react) => document.addEventListener(name, (event) => {
    const answer = answerOf(event.target);
    if (answer && event.target instanceof HTMLVideoElement) react(answer, event.target, mainOf(answer), silentOf(answer));
  }, true);

  onPlayer("play", (answer, video, main, silent) => {
    const other = video === main ? silent : main;
    if (other && other.paused) {
      other.currentTime = video.currentTime;
      other.play().catch(() => {});
    }
    if (video === main) follow(answer);
  });
  onPlayer("pause", (answer, video, main, silent) => {
    const other = video === main ? silent : main;
    if (other && !other.paused && !video.ended) other.pause();
    follow(answer);
  });
  onPlayer("seeked", (answer, video, main, silent) => {
    const other = video === main ? silent : main;
    if (other && Math.abs(other.currentTime - video.currentTime) > 0.3) other.currentTime = video.currentTime;
    if (video === main) show(answer, main.currentTime);
  });
  onPlayer("timeupdate", (answer, video, main) => { if (video === main) show(answer, main.currentTime); });
  onPlayer("loadedmetadata", (answer, video, main, silent) => {
    if (video === main) show(answer, main.currentTime);
    if (silent) silent.muted = true;
  });
  onPlayer("ratechange", (answer, video, main, silent) => {
    const other = video === main ? silent : main;
    if (other && other.playbackRate !== video.playbackRate) other.playbackRate = video.playbackRate;
  });

  const timeAt = (answer, line, x) => {
    const box = line.getBoundingClientRect();
    const left = parseFloat(answer.dataset.left);
    const right = parseFloat(answer.dataset.right);
    return (((x - box.left) / box.width - left) / (right - left)) * durationOf(answer);
  };

  document.addEventListener("click", (event) => {
    const answer = answerOf(event.target);
    if (!answer) return;
    const line = event.target.closest(".timeline");
    const row = event.target.closest("tr[data-start]");
    if (line) seek(answer, timeAt(answer, line, event.clientX));
    else if (row) seek(answer, parseFloat(row.dataset.start));
  });
  document.addEventListener("pointermove", (event) => {
    const answer = answerOf(event.target);
    const line = answer && event.target.closest(".timeline");
    if (line && event.pointerType === "mouse" && event.buttons === 1) seek(answer, timeAt(answer, line, event.clientX));
  });
  document.addEventListener("keydown", (event) => {
    const answer = answerOf(event.target);
    if (!answer || !event.target.classList.contains("timeline")) return;
    const now = mainOf(answer).currentTime;
    const hop = parseFloat(answer.dataset.hop);
    const places = { ArrowLeft: now - hop, ArrowRight: now + hop, Home: 0, End: durationOf(answer) };
    if (!(event.key in places)) return;
    event.preventDefault();
    seek(answer, places[event.key]);
  });
})();
