// Shows the arrays of the page: cells as points, links as lines, both sorted by frame. Colours, curves and the tree follow the choice.

const $ = (id) => document.getElementById(id);
const about = JSON.parse($("about").textContent);
THREE.ColorManagement.enabled = false; // colours are what the tables say
const BACKGROUND = 0x111111;
const TYPES = { u1: Uint8Array, u2: Uint16Array, i4: Int32Array, f4: Float32Array };
const columns = new Map(about.columns.map((column) => [column.name, column]));
const number = (value) => (Number.isFinite(value) ? String(Number(value.toPrecision(4))) : "–");
const plural = (n, one) => `${n.toLocaleString("en")} ${one}${n === 1 ? "" : "s"}`;

// ---- the arrays ----------------------------------------------------------------------------------------------------------

const decoded = new Map();

/** Return an array of the page; its bytes lie weight by weight, and integers as differences. */
function array(key) {
  if (!decoded.has(key)) decoded.set(key, decode(key));
  return decoded.get(key);
}

async function decode(key) {
  const element = document.querySelector(`script[data-array="${CSS.escape(key)}"]`);
  const packed = await (await fetch(`data:application/octet-stream;base64,${element.textContent}`)).blob();
  element.textContent = "";
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const kind = about.kinds[key];
  const width = TYPES[kind].BYTES_PER_ELEMENT;
  const n = bytes.length / width;
  const whole = new Uint8Array(bytes.length);
  for (let weight = 0; weight < width; weight++)
    for (let i = 0, from = weight * n, to = weight; i < n; i++, to += width) whole[to] = bytes[from + i];
  const values = new TYPES[kind](whole.buffer);
  if (kind === "i4") for (let i = 1; i < n; i++) values[i] += values[i - 1];
  return values;
}

// ---- the scene -----------------------------------------------------------------------------------------------------------

const POINT = `
uniform float radius, perPixel, chosen, only; attribute vec3 tint; attribute float track; varying vec3 vTint; varying float vIs;
void main() {
  vec4 seen = modelViewMatrix * vec4(position, 1.0);
  gl_Position = projectionMatrix * seen;
  vIs = chosen < 0.0 ? 0.0 : (track == chosen ? 1.0 : -1.0);
  gl_PointSize = only > 0.5 && vIs < 0.0 ? 0.0 : max(3.0, 2.0 * radius * perPixel / -seen.z);
  if (gl_PointSize == 0.0) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  vTint = tint;
}`;
const BALL = `
uniform vec3 background; varying vec3 vTint; varying float vIs;
void main() {
  vec2 p = gl_PointCoord * 2.0 - 1.0; float r = dot(p, p);
  if (r > 1.0) discard;
  vec3 lit = vTint * (0.6 + 0.4 * sqrt(1.0 - r));
  if (vIs > 0.5 && r > 0.6) lit = vec3(1.0);
  gl_FragColor = vec4(vIs < -0.5 ? mix(background, lit, 0.4) : lit, 1.0);
}`;
const LINE = `
uniform float frame, tail, chosen, only; attribute vec3 tint; attribute float track, at; varying vec3 vTint; varying float vStrength;
void main() {
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
  float other = chosen >= 0.0 && track != chosen ? 1.0 : 0.0;
  if (other * only > 0.5) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
  vStrength = clamp(1.0 - (frame - at) / (tail + 1.0), 0.15, 1.0) * (1.0 - 0.65 * other);
  vTint = tint;
}`;
const FADING = `
uniform vec3 background; varying vec3 vTint; varying float vStrength;
void main() { gl_FragColor = vec4(mix(background, vTint, vStrength), 1.0); }`;

const state = { frame: 0, track: -1, playing: false, dirty: true, color: "track" };
const data = {};
let renderer, scene, camera, controls, points, lines, path;
const uniforms = {
  radius: { value: about.radius }, perPixel: { value: 1 }, chosen: { value: -1 }, only: { value: 0 }, frame: { value: 0 },
  tail: { value: 10 }, background: { value: new THREE.Color(BACKGROUND) },
};

function build() {
  renderer = new THREE.WebGLRenderer({ antialias: !drawnBySoftware() });
  renderer.outputColorSpace = "srgb-linear";
  renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
  renderer.setClearColor(uniforms.background.value);
  $("view").append(renderer.domElement);
  scene = new THREE.Scene();
  camera = new THREE.PerspectiveCamera(35, 1, 0.1, 1e6);
  camera.up.set(0, -1, 0); // y runs downwards, as in the images
  controls = new THREE.OrbitControls(camera, renderer.domElement);
  controls.autoRotateSpeed = 1.5;
  controls.addEventListener("change", () => (state.dirty = true));
  const n = about.objects;
  const at = new Float32Array(n);
  for (let t = 0; t < about.frames; t++) at.fill(t, data.firstObject[t], data.firstObject[t + 1]);
  data.place = new Float32Array(3 * n);
  for (let i = 0; i < 3 * n; i++) data.place[i] = (data.position[i] / 65535 - 0.5) * about.size[i % 3];
  data.tint = new Uint8Array(3 * n).fill(170);
  const attributes = {
    position: new THREE.BufferAttribute(data.place, 3), tint: new THREE.BufferAttribute(data.tint, 3, true),
    track: new THREE.BufferAttribute(Float32Array.from(data.track), 1), at: new THREE.BufferAttribute(at, 1),
  };
  const geometry = () => Object.entries(attributes).reduce((g, [name, a]) => g.setAttribute(name, a), new THREE.BufferGeometry());
  const material = (vertexShader, fragmentShader) => new THREE.ShaderMaterial({ vertexShader, fragmentShader, uniforms });
  points = new THREE.Points(geometry(), material(POINT, BALL));
  const index = new Uint32Array(2 * about.links);
  for (let i = 0; i < about.links; i++) {
    index[2 * i] = data.link[i];
    index[2 * i + 1] = data.link[about.links + i];
  }
  lines = new THREE.LineSegments(geometry().setIndex(new THREE.BufferAttribute(index, 1)), material(LINE, FADING));
  points.frustumCulled = lines.frustumCulled = false;
  points.renderOrder = 1; // over what ends in the middle of a cell
  scene.add(points, lines, box());
  const over = { vertexColors: true, depthTest: false, transparent: true };
  path = drawnBySoftware()
    ? new THREE.LineSegments(new THREE.BufferGeometry(), new THREE.LineBasicMaterial(over))
    : new THREE.LineSegments2(new THREE.LineSegmentsGeometry(), new THREE.LineMaterial({ linewidth: 3, ...over }));
  path.frustumCulled = false;
  path.visible = false;
  scene.add(path);
}

/** Smooth edges and wide lines take a processor three times as long. */
function drawnBySoftware() {
  const gl = document.createElement("canvas").getContext("webgl2");
  const named = gl?.getExtension("WEBGL_debug_renderer_info");
  return Boolean(named) && /swiftshader|llvmpipe|software|basic render/i.test(gl.getParameter(named.UNMASKED_RENDERER_WEBGL));
}

function box() {
  const [x, y, z] = about.size.map((length) => length / 2);
  const corners = [-1, 1].flatMap((a) => [-1, 1].flatMap((b) => [-1, 1].map((c) => [a * x, b * y, c * z])));
  const edges = corners.flatMap((p, i) =>
    corners.slice(i + 1).filter((q) => q.filter((v, k) => v !== p[k]).length === 1).flatMap((q) => [...p, ...q]));
  const geometry = new THREE.BufferGeometry();
  geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(edges), 3));
  return new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ color: 0x666666 }));
}

/** Look from the front (2D), or a little from the side, so that everything is seen. */
function look(aslant) {
  const reach = Math.hypot(...about.size) / 2 + 2 * about.radius;
  const narrow = Math.min(1, camera.aspect);
  const away = (1.02 * reach) / Math.sin((camera.fov * Math.PI) / 360) / narrow;
  const from = aslant ? new THREE.Vector3(-0.5, -0.4, -1) : new THREE.Vector3(0, 0, -1);
  camera.position.copy(from.normalize().multiplyScalar(away));
  camera.near = away / 1000;
  camera.far = away * 20;
  camera.updateProjectionMatrix();
  controls.target.set(0, 0, 0);
  controls.update();
  state.dirty = true;
}

function fit() {
  const { clientWidth: width, clientHeight: height } = $("view");
  if (!width || !height) return;
  renderer.setSize(width, height, false);
  camera.aspect = width / height;
  camera.updateProjectionMatrix();
  uniforms.perPixel.value = (height * renderer.getPixelRatio()) / 2 / Math.tan((camera.fov * Math.PI) / 360);
  state.dirty = true;
}

function show(frame) {
  state.frame = Math.max(0, Math.min(about.frames - 1, frame));
  const { firstObject, firstLink } = data;
  const t = state.frame;
  const tail = Number($("tail").value);
  const since = Math.max(0, t - tail + 1);
  points.geometry.setDrawRange(firstObject[t], firstObject[t + 1] - firstObject[t]);
  const start = firstLink[Math.min(since, t + 1)];
  lines.geometry.setDrawRange(2 * start, tail ? 2 * (firstLink[t + 1] - start) : 0);
  uniforms.frame.value = t;
  uniforms.tail.value = tail;
  $("frame").value = t;
  const [perFrame, unit] = about.time;
  $("clock").textContent = `frame ${t} of ${about.frames - 1}` + (unit === "frame" ? "" : `, ${number(t * perFrame)} ${unit}`);
  for (const line of document.querySelectorAll(".now")) line.style.left = `${line.percent(t)}%`;
  state.dirty = true;
}

// ---- colours -------------------------------------------------------------------------------------------------------------

const rgbOf = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const generationColor = (g) => about.generation_colors[g % about.generation_colors.length];

async function colour(name) {
  state.color = name;
  const { tint } = data;
  const n = about.objects;
  const column = columns.get(name);
  if (name === "track") {
    const palette = await array("track_color");
    for (let i = 0; i < n; i++) {
      const track = data.track[i];
      for (let k = 0; k < 3; k++) tint[3 * i + k] = track < 0 ? 150 : palette[3 * track + k];
    }
    $("scale").style.background = "none";
    $("ends").textContent = "a colour for each track; grey: in no track";
  } else {
    const [values, scale] = await Promise.all([array(`column ${name}`), array("scale")]);
    if (state.color !== name) return; // another one was chosen meanwhile
    const own = name === "generation" ? about.generation_colors.map(rgbOf) : null;
    const [low, high] = column.ends;
    const step = high > low ? 255 / (high - low) : 0;
    for (let i = 0; i < n; i++) {
      const value = values[i];
      const at = 3 * Math.max(0, Math.min(255, Math.round((value - low) * step)));
      for (let k = 0; k < 3; k++)
        tint[3 * i + k] = !Number.isFinite(value) ? 110 : own ? own[value % own.length][k] : scale[at + k];
    }
    legend(column, own, scale);
  }
  points.geometry.attributes.tint.needsUpdate = true;
  if (state.track >= 0) await drawPath();
  state.dirty = true;
}

/** Name the colours of generations. */
function keys(generations) {
  return generations.map((g) => {
    const key = document.createElement("span");
    key.className = "key";
    key.innerHTML = `<i style="background:${generationColor(g)}"></i>${g}`;
    return key;
  });
}

function legend(column, own, scale) {
  const ends = $("ends");
  $("scale").style.background = "none";
  if (own) {
    ends.replaceChildren(...keys(Array.from({ length: Math.min(column.range[1] + 1, own.length) }, (_, g) => g)));
    return;
  }
  if (column.n === 0) {
    ends.textContent = "no cell has a value";
    return;
  }
  const stops = Array.from({ length: 16 }, (_, k) => `rgb(${Array.from(scale.slice(51 * k, 51 * k + 3)).join()})`);
  $("scale").style.background = `linear-gradient(to right, ${stops.join()})`;
  const [low, high] = column.ends;
  const missing = about.objects - column.n;
  const words = [(low > column.range[0] ? "≤ " : "") + number(low), missing ? `grey: no value (${missing.toLocaleString("en")})` : "", (high < column.range[1] ? "≥ " : "") + number(high)];
  ends.replaceChildren(...words.map((text) => Object.assign(document.createElement("span"), { textContent: text })));
}

// ---- the chosen track ----------------------------------------------------------------------------------------------------

/** Choose a track; −1 chooses none. */
async function choose(track) {
  state.track = track;
  uniforms.chosen.value = track;
  $("track").hidden = track < 0;
  path.visible = track >= 0;
  if (track < 0) {
    $("only").checked = false;
    uniforms.only.value = 0;
    $("chosen").textContent = about.tracks ? "none is chosen: click on a cell, or find one by its number" : "nothing is linked";
    $("find").value = "";
    state.dirty = true;
    return;
  }
  data.rows = [];
  for (let i = 0; i < about.objects; i++) if (data.track[i] === track) data.rows.push(i);
  $("find").value = String(track);
  $("chosen").textContent = data.said.get(track);
  await Promise.all([drawPath(), drawTree(), drawCurves()]);
  state.dirty = true;
}

async function drawPath() {
  const places = [], colors = [];
  for (let i = 0; i < about.links; i++) {
    const a = data.link[i], b = data.link[about.links + i];
    if (data.track[b] !== state.track) continue;
    for (const row of [a, b])
      for (let k = 0; k < 3; k++) {
        places.push(data.place[3 * row + k]);
        colors.push(data.tint[3 * row + k] / 255);
      }
  }
  let geometry;
  if (path.isLineSegments2) {
    geometry = new THREE.LineSegmentsGeometry();
    geometry.setPositions(places);
    geometry.setColors(colors);
  } else {
    geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(new Float32Array(places), 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(new Float32Array(colors), 3));
  }
  path.geometry.dispose();
  path.geometry = geometry;
}

/** A drawing; a line over it shows the frame. The line lies outside of the drawing, which would else be painted anew each frame. */
function svg(width, height, span, foot = 0) {
  const left = 46;
  const whole = document.createElement("div");
  whole.className = "plot";
  const element = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  element.setAttribute("viewBox", `0 0 ${width} ${height}`);
  element.toX = (frame) => left + ((frame - span[0]) / Math.max(1, span[1] - span[0])) * (width - left - 6);
  const part = (name, attributes, text) => {
    const child = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
    if (text !== undefined) child.textContent = text;
    element.append(child);
    return child;
  };
  element.addEventListener("click", (event) => {
    const box = element.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    show(Math.round(span[0] + ((x - left) / (width - left - 6)) * (span[1] - span[0])));
  });
  const now = document.createElement("i");
  now.className = "now";
  now.style.bottom = `${(100 * foot) / height}%`;
  now.percent = (frame) => (100 * element.toX(frame)) / width;
  whole.append(element, now);
  return [whole, element.toX, part];
}

/** Leaves one below the other, a mother in the middle of her daughters. */
function rowsOf(tracklets) {
  const rows = new Map();
  let leaves = 0;
  const roots = tracklets.filter((id) => !data.parents.has(id));
  const stack = roots.reverse().map((id) => [id, false]);
  while (stack.length) {
    const [id, done] = stack.pop();
    const children = data.children.get(id) ?? [];
    if (done) {
      const known = children.map((child) => rows.get(child)).filter((row) => row !== undefined);
      rows.set(id, known.reduce((a, b) => a + b, 0) / known.length);
    } else if (rows.has(id)) continue;
    else if (!children.length) rows.set(id, leaves++);
    else stack.push([id, true], ...children.toReversed().map((child) => [child, false]));
  }
  return [rows, leaves];
}

function drawTree() {
  const tracklets = [...new Set(data.rows.map((row) => data.tracklet[row]))].sort((a, b) => a - b);
  const [rows, leaves] = rowsOf(tracklets);
  const height = 18 * leaves + 8;
  const [whole, toX, part] = svg(330, height, spanOf());
  const y = (id) => 15 + 18 * rows.get(id);
  for (const id of tracklets) {
    const stroke = generationColor(data.generation[id]);
    const [start, end] = [toX(data.start[id]), toX(data.end[id])];
    for (const parent of data.parents.get(id) ?? [])
      part("line", { x1: toX(data.end[parent]), y1: y(parent), x2: start, y2: y(id), stroke, "stroke-width": 1.5 });
    part("line", { x1: start, y1: y(id), x2: Math.max(end, start + 2), y2: y(id), stroke, "stroke-width": 3 });
    part("text", { x: start + 3, y: y(id) - 3 }, id);
  }
  $("lineage").replaceChildren(whole);
  $("generations").replaceChildren("generation ", ...keys([...new Set(tracklets.map((id) => data.generation[id]))].sort()));
  show(state.frame);
}

const spanOf = () => [data.frameOf(data.rows[0]), data.frameOf(data.rows.at(-1))];

async function drawCurves() {
  const shown = [...new Set([$("curve").value, $("color").value])].filter((name) => columns.has(name));
  const track = state.track;
  const curves = await Promise.all(shown.map(async (name) => [columns.get(name), await array(`column ${name}`)]));
  if (track !== state.track) return;
  $("curves").replaceChildren(...curves.map(([column, values]) => curve(column, values)));
  show(state.frame);
}

function curve(column, values) {
  const height = 110, top = 20, foot = 16;
  const finite = data.rows.map((row) => values[row]).filter(Number.isFinite);
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  const [whole, toX, part] = svg(330, height, spanOf(), foot);
  part("text", { x: 0, y: 12 }, column.label + (finite.length ? "" : ": no value"));
  if (!finite.length) return whole;
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const y = (value) => height - foot - ((value - low) / (high - low)) * (height - foot - top);
  for (const value of [low, high]) part("text", { x: 42, y: y(value) + 4, "text-anchor": "end" }, number(value));
  const [perFrame, unit] = about.time;
  const words = (frame) => (unit === "frame" ? `frame ${frame}` : `${number(frame * perFrame)} ${unit}`);
  part("text", { x: 46, y: height - 2 }, words(spanOf()[0]));
  part("text", { x: 324, y: height - 2, "text-anchor": "end" }, words(spanOf()[1]));
  for (const [id, rows] of Map.groupBy(data.rows, (row) => data.tracklet[row])) {
    const color = generationColor(data.generation[id]);
    let drawn = "";
    rows.forEach((row, i) => {
      if (!Number.isFinite(values[row])) return;
      const joined = drawn && Number.isFinite(values[rows[i - 1]]);
      const place = `${toX(data.frameOf(row)).toFixed(1)} ${y(values[row]).toFixed(1)}`;
      drawn += joined ? `L${place}` : `M${place}h0`; // with round ends a value without neighbours is a dot
    });
    part("path", { d: drawn, fill: "none", stroke: color, "stroke-width": 2, "stroke-linecap": "round" });
  }
  return whole;
}

/** Choose the track of the cell at a point of the picture, the nearest to the eye where several lie there. */
function pick(x, y) {
  const { clientWidth: width, clientHeight: height } = renderer.domElement;
  const at = new THREE.Vector3();
  camera.updateMatrixWorld(); // it may have been moved since it was drawn
  let best = null;
  for (let i = data.firstObject[state.frame]; i < data.firstObject[state.frame + 1]; i++) {
    if (uniforms.only.value && data.track[i] !== state.track) continue;
    at.fromArray(data.place, 3 * i).applyMatrix4(camera.matrixWorldInverse);
    const depth = -at.z;
    const reach = Math.max(6, (uniforms.radius.value * uniforms.perPixel.value) / renderer.getPixelRatio() / depth);
    at.applyMatrix4(camera.projectionMatrix);
    const away = Math.hypot(((at.x + 1) / 2) * width - x, ((1 - at.y) / 2) * height - y);
    if (depth > 0 && away <= reach && (!best || depth < best.depth)) best = { depth, i };
  }
  const track = best ? data.track[best.i] : -1;
  choose(track);
  if (best && track < 0) $("chosen").textContent = "this cell is in no track";
}

// ---- controls ------------------------------------------------------------------------------------------------------------

function play(on) {
  state.playing = on && about.frames > 1;
  $("play").textContent = state.playing ? "❚❚" : "▶";
}

function connect() {
  for (const column of about.columns) {
    for (const id of ["color", "curve"]) $(id).append(new Option(column.label + (column.n ? "" : " (no values)"), column.name));
  }
  $("color").prepend(new Option("track", "track"));
  $("color").value = "track";
  $("curve").value = about.curve;
  for (const said of about.list) $("list").append(new Option(said, said.match(/\d+/)[0]));
  for (const n of [1, 2, 5, 10, 20, 30]) $("speed").append(new Option(`${n} frames/s`, n));
  $("speed").value = about.frames > 60 ? 10 : 5;
  $("frame").max = Math.max(0, about.frames - 1);
  $("frame").disabled = $("play").disabled = about.frames < 2;
  $("find").disabled = !about.tracks;
  $("tail").max = Math.max(1, Math.min(about.frames - 1, 100));
  $("tail").value = 10;
  $("frame").addEventListener("input", () => show(Number($("frame").value)));
  $("tail").addEventListener("input", () => show(state.frame));
  $("play").addEventListener("click", () => play(!state.playing));
  $("color").addEventListener("change", async () => {
    await colour($("color").value);
    if (state.track >= 0) await drawCurves();
  });
  $("curve").addEventListener("change", drawCurves);
  $("size").addEventListener("input", () => {
    uniforms.radius.value = about.radius * Number($("size").value);
    state.dirty = true;
  });
  $("turn").addEventListener("change", () => (controls.autoRotate = $("turn").checked));
  $("home").addEventListener("click", () => {
    $("turn").checked = controls.autoRotate = false;
    look(false);
  });
  $("none").addEventListener("click", () => choose(-1));
  $("only").addEventListener("change", () => {
    uniforms.only.value = Number($("only").checked);
    state.dirty = true;
  });
  $("find").addEventListener("change", () => {
    const asked = $("find").value.match(/\d+/);
    const track = asked ? Number(asked[0]) : -1;
    if (track < about.tracks) choose(track);
    else $("chosen").textContent = `there is no track ${track}; the last is ${about.tracks - 1}`;
  });
  document.addEventListener("keydown", (event) => {
    if (/INPUT|SELECT|BUTTON/.test(event.target.tagName)) return;
    if (event.key === " ") play(!state.playing);
    else if (event.key === "ArrowRight") show(state.frame + 1);
    else if (event.key === "ArrowLeft") show(state.frame - 1);
    else return;
    event.preventDefault();
  });
  const canvas = renderer.domElement;
  let down = null;
  canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
  canvas.addEventListener("pointerup", (event) => {
    if (down && event.button === 0 && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 4) {
      const box = canvas.getBoundingClientRect();
      pick(event.clientX - box.left, event.clientY - box.top);
    }
  });
  new ResizeObserver(fit).observe($("view"));
}

let before = 0, owed = 0;

function loop(time) {
  const passed = Math.min(time - before, 1000);
  before = time;
  if (state.playing) {
    owed += (passed / 1000) * Number($("speed").value);
    if (owed >= 1) {
      show((state.frame + Math.floor(owed)) % about.frames);
      owed %= 1;
    }
  }
  controls.update(passed / 1000);
  if (state.dirty) {
    state.dirty = false;
    renderer.render(scene, camera);
  }
  requestAnimationFrame(loop);
}

async function start() {
  const gaps = [`${plural(about.objects, "cell")} × frames`, plural(about.tracks, "track"), plural(about.divisions, "division"), plural(about.frames, "frame")];
  const [x, y, z] = about.size.map((length) => number(length));
  $("counts").textContent = `${gaps.join(", ")}. The box is ${x} × ${y}${about.flat ? "" : ` × ${z}`} µm (x × y${about.flat ? "" : " × z"}).`;
  if (!about.objects) {
    $("said").textContent = "There are no cells in these tracks.";
    return;
  }
  const names = ["position", "link", "first_object", "first_link", "tracklet_start", "tracklet_end", "tracklet_generation", "tracklet_link", "column track_id", "column tracklet_id"];
  const [position, link, firstObject, firstLink, first, last, generation, between, track, tracklet] = await Promise.all(names.map(array));
  Object.assign(data, { position, link, firstObject, firstLink, start: first, end: last, generation, track, tracklet });
  const half = between.length / 2;
  data.parents = new Map();
  data.children = new Map();
  for (let i = 0; i < half; i++) {
    const [parent, child] = [between[i], between[half + i]];
    data.parents.set(child, [...(data.parents.get(child) ?? []), parent]);
    data.children.set(parent, [...(data.children.get(parent) ?? []), child]);
  }
  data.said = new Map(about.list.map((said) => [Number(said.match(/\d+/)[0]), said]));
  data.frameOf = (row) => points.geometry.attributes.at.array[row];
  build();
  connect();
  fit();
  look(!about.flat);
  $("turn").checked = controls.autoRotate = !about.flat && !matchMedia("(prefers-reduced-motion: reduce)").matches;
  show(0);
  await colour("track");
  choose(-1);
  $("said").textContent = "";
  renderer.render(scene, camera);
  requestAnimationFrame(loop);
  document.body.dataset.ready = String(performance.now());
}

start().catch((error) => {
  const old = typeof DecompressionStream === "undefined" || !Map.groupBy || !Array.prototype.toReversed;
  const reason = old ? "This browser is too old for this page: it needs Chrome or Edge 117, Firefox 121 or Safari 17.4." : /WebGL/.test(error) ? "This browser shows no 3D graphics (WebGL): allow hardware acceleration, or try another one." : `This page cannot be shown: ${error}`;
  $("said").textContent = reason;
  throw error;
});
