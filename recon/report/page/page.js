"use strict";
// The pictures of the page: decode, window, draw, and what a reader does with them. The texts need none of this.
(() => {
  const $ = (id) => document.getElementById(id);
  const page = JSON.parse($("pictures-data").textContent);
  const canvas = $("canvas");
  const context = canvas.getContext("2d");
  const state = {
    group: page.first[0], slice: page.first[1], mode: "", divider: 0.5, level: 0, width: 1,
    zoom: 1, x: 0.5, y: 0.5, tool: "divider", regions: false,
  };
  const group = () => page.groups[state.group];
  const slice = () => group().slices[state.slice];
  const meta = (name) => slice().layers.find((layer) => layer.name === name);

  // Decoding: base 64, deflate, differences to neighbours or wavelets

  const KEPT = 96 * 2 ** 20; // bytes of decoded pictures
  const decoded = new Map();
  let kept = 0;

  function bytesOf(text) {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes;
  }

  async function inflated(bytes) {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function undoDifferences(data, layer) {
    const [channels, rows, columns] = layer.shape;
    const count = channels * rows * columns;
    const out = new Uint16Array(count);
    const median = layer.coder === "median";
    let at = 0;
    for (let channel = 0; channel < channels; channel++) {
      for (let row = 0; row < rows; row++) {
        let left = 0, corner = 0;
        for (let column = 0; column < columns; column++, at++) {
          const folded = data[at] | (data[count + at] << 8);
          const above = row ? out[at - columns] : 0;
          let guess;
          if (median) {
            const low = left < above ? left : above, high = left < above ? above : left;
            guess = left + above - corner;
            guess = guess < low ? low : guess > high ? high : guess;
          } else guess = (left + above) >> 1;
          left = out[at] = (guess + ((folded >> 1) ^ -(folded & 1))) & 0xffff;
          corner = above;
        }
      }
    }
    return out;
  }

  // The inverse of the wavelet transform, as in wavelet.py

  const LIFTS = [-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971];
  const SCALE = 1.230174104914001;

  function sizesOf(rows, columns) {
    const found = [[rows, columns]];
    while (found.length <= 5 && Math.min(...found[found.length - 1]) >= 16) {
      found.push(found[found.length - 1].map((side) => (side + 1) >> 1));
    }
    return found;
  }

  function bandsOf(levels) {
    const [low, wide] = levels[levels.length - 1];
    const found = [[0, low, 0, wide]];
    for (let i = levels.length - 2; i >= 0; i--) {
      const [high, across] = levels[i], [half, part] = levels[i + 1];
      found.push([0, half, part, across], [half, high, 0, part], [half, high, part, across]);
    }
    return found;
  }

  // even ones come first and then odd ones; after it they take turns
  function undoRow(data, at, count, spare) {
    const even = (count + 1) >> 1, odd = count - even, half = at + even;
    for (let i = 0; i < even; i++) spare[2 * i] = data[at + i] / SCALE;
    for (let i = 0; i < odd; i++) spare[2 * i + 1] = data[half + i] * SCALE;
    for (let step = 3; step >= 0; step--) {
      const weight = LIFTS[step];
      for (let i = step % 2 ? 0 : 1; i < count; i += 2) {
        const one = i ? i - 1 : 1, two = i + 1 < count ? i + 1 : i - 1;
        spare[i] -= weight * (spare[one] + spare[two]);
      }
    }
    for (let i = 0; i < count; i++) data[at + i] = spare[i];
  }

  function undoColumns(data, rows, apart, columns, spare) {
    const even = (rows + 1) >> 1;
    for (let row = 0; row < rows; row++) {
      const from = (row % 2 ? even + (row >> 1) : row >> 1) * apart, to = row * columns;
      const factor = row % 2 ? SCALE : 1 / SCALE;
      for (let i = 0; i < columns; i++) spare[to + i] = data[from + i] * factor;
    }
    for (let step = 3; step >= 0; step--) {
      const weight = LIFTS[step];
      for (let row = step % 2 ? 0 : 1; row < rows; row += 2) {
        const one = (row ? row - 1 : 1) * columns, two = (row + 1 < rows ? row + 1 : row - 1) * columns, to = row * columns;
        for (let i = 0; i < columns; i++) spare[to + i] -= weight * (spare[one + i] + spare[two + i]);
      }
    }
    for (let row = 0; row < rows; row++) data.set(spare.subarray(row * columns, (row + 1) * columns), row * apart);
  }

  function undoWavelet(data, layer) {
    const [channels, rows, columns] = layer.shape;
    const size = rows * columns, count = channels * size;
    const levels = sizesOf(rows, columns), bands = bandsOf(levels);
    const out = new Uint16Array(count), plane = new Float64Array(size), spare = new Float64Array(size);
    const [low, high] = layer.range;
    let from = 0;
    for (let channel = 0; channel < channels; channel++) {
      for (const [top, bottom, left, right] of bands) {
        for (let row = top; row < bottom; row++) {
          for (let column = left; column < right; column++, from++) {
            const folded = data[from] | (data[count + from] << 8) | (data[2 * count + from] << 16);
            plane[row * columns + column] = layer.quantum * ((folded >> 1) ^ -(folded & 1));
          }
        }
      }
      for (let level = levels.length - 2; level >= 0; level--) {
        const [high_, wide] = levels[level];
        for (let row = 0; row < high_; row++) undoRow(plane, row * columns, wide, spare);
        undoColumns(plane, high_, columns, wide, spare);
      }
      for (let i = 0; i < size; i++) {
        const at = channel * size + i;
        const value = Math.min(high, Math.max(low, plane[i]));
        const number = Math.round((value - layer.offset) / layer.step);
        out[at] = layer.holes && !data[3 * count + at] ? 0 : Math.min(65535, Math.max(1, number));
      }
    }
    return out;
  }

  const undo = (data, layer) => (layer.coder === "wavelet" ? undoWavelet(data, layer) : undoDifferences(data, layer));

  function stored(layer) {
    const known = decoded.get(layer.id);
    if (known) {
      decoded.delete(layer.id);
      decoded.set(layer.id, known); // the most recently used one is the last
      return known.numbers;
    }
    const node = $(layer.id);
    if (!node) return null; // the page is still being read
    const numbers = inflated(bytesOf(node.textContent)).then((data) => undo(data, layer));
    const size = 2 * layer.shape[0] * layer.shape[1] * layer.shape[2];
    decoded.set(layer.id, { numbers, size });
    kept += size;
    for (const [old, { size: freed }] of decoded) {
      if (kept <= KEPT || old === layer.id) break;
      decoded.delete(old);
      kept -= freed;
    }
    return numbers;
  }

  // A picture is what is drawn: numbers with the map to their values

  async function picture(layer) {
    if (!layer.difference) {
      const numbers = await stored(layer);
      return numbers && { layer, numbers, offset: layer.offset, step: layer.step };
    }
    const [first, second] = await Promise.all(layer.difference.map((name) => picture(meta(name))));
    if (!first || !second) return null;
    const values = new Float32Array(first.numbers.length);
    for (let i = 0; i < values.length; i++) values[i] = valueAt(first, i) - valueAt(second, i);
    return { layer: { ...first.layer, ...layer, id: "" }, values };
  }

  function valueAt(shown, at) {
    if (shown.values) return shown.values[at];
    const number = shown.numbers[at];
    return number === 0 ? NaN : shown.offset + shown.step * number;
  }

  function limitsOf(layer) {
    return layer.scale === "window" ? [state.level - state.width / 2, state.level + state.width / 2] : layer.limits;
  }

  // blue, white, red of equal lightness on both sides; zero is white, so that it is told from what is missing
  function signedColour(part, into, at) {
    const size = Math.min(1, Math.abs(2 * part - 1));
    const ends = part < 0.5 ? [5, 75, 140] : [160, 40, 0];
    for (let channel = 0; channel < 3; channel++) into[at + channel] = 247 + (ends[channel] - 247) * Math.pow(size, 0.8);
    into[at + 3] = 255;
  }

  const painted = new Map();

  function paint(shown) {
    const layer = shown.layer;
    const [channels, rows, columns] = layer.shape;
    const [low, high] = limitsOf(layer);
    const key = `${layer.id || layer.name + state.group + "-" + state.slice} ${low} ${high}`;
    if (painted.has(key)) return painted.get(key);
    const image = new ImageData(columns, rows);
    const data = image.data, size = rows * columns, scale = 1 / (high - low || 1);
    if (layer.scale === "signed") {
      const table = new Uint8ClampedArray(4 * 513);
      for (let i = 0; i <= 512; i++) signedColour(i / 512, table, 4 * i);
      for (let i = 0; i < size; i++) {
        let value = valueAt(shown, i);
        for (let channel = 1; channel < channels; channel++) value += valueAt(shown, i + channel * size);
        if (value !== value) continue;
        const part = Math.round(512 * Math.min(1, Math.max(0, (value / channels - low) * scale)));
        data.set(table.subarray(4 * part, 4 * part + 4), 4 * i);
      }
    } else {
      const table = new Uint8ClampedArray(65536);
      for (let number = 1; number < 65536; number++) table[number] = 255 * (shown.offset + shown.step * number - low) * scale;
      const numbers = shown.numbers, green = channels === 3 ? size : 0, blue = 2 * green;
      for (let i = 0, at = 0; i < size; i++, at += 4) {
        data[at] = table[numbers[i]];
        data[at + 1] = table[numbers[i + green]];
        data[at + 2] = table[numbers[i + blue]];
        data[at + 3] = numbers[i] ? 255 : 0;
      }
    }
    const made = document.createElement("canvas");
    made.width = columns;
    made.height = rows;
    made.getContext("2d").putImageData(image, 0, 0);
    painted.set(key, made);
    while (painted.size > 8) painted.delete(painted.keys().next().value);
    return made;
  }

  // Drawing

  let shownNow = [];
  let turn = 0, later = 0;

  function wanted() {
    if (state.mode !== "compare") return [meta(state.mode)];
    return [meta("before"), meta("after")];
  }

  async function show() {
    const mine = ++turn;
    let pictures;
    try {
      pictures = await Promise.all(wanted().filter(Boolean).map(picture));
    } catch (error) {
      $("readout").textContent = `The pictures cannot be decoded by this browser (${error.message}).`;
      return;
    }
    if (mine !== turn) return; // the reader is at another slice by now
    shownNow = pictures.filter(Boolean);
    draw();
    if (shownNow.length && !page.drawn) {
      page.drawn = true;
      document.documentElement.dataset.drawn = Math.round(performance.now());
    }
    document.documentElement.dataset.slice = state.slice;
    clearTimeout(later);
    later = setTimeout(ahead, 20); // after the picture, so that a reader who jumps does not wait for neighbours
  }

  function ahead() {
    for (const step of [1, -1, 2, -2]) {
      const next = group().slices[state.slice + step];
      if (!next) continue;
      for (const layer of wanted().filter(Boolean)) {
        const names = layer.difference || [layer.name];
        for (const name of names) {
          const found = next.layers.find((each) => each.name === name);
          if (found && found.id) stored(found);
        }
      }
    }
  }

  function place(layer) {
    // pixels of the canvas for a pixel of the picture, and where its corner is
    const [, rows, columns] = layer.shape;
    const tall = rows * layer.aspect;
    const fit = Math.min(canvas.width / columns, canvas.height / tall);
    const size = fit * state.zoom;
    return {
      size, tall: size * layer.aspect, left: canvas.width / 2 - state.x * columns * size, top: canvas.height / 2 - state.y * tall * size,
    };
  }

  function resize(layer) {
    const [, rows, columns] = layer.shape;
    const wide = canvas.parentElement.clientWidth;
    const most = Math.max(240, 0.78 * window.innerHeight);
    const high = Math.max(160, Math.min(most, (wide * rows * layer.aspect) / columns));
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.style.height = `${Math.round(high)}px`;
    const size = [Math.round(wide * ratio), Math.round(high * ratio)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  }

  function drawPart(shown, from, to) {
    const at = place(shown.layer), [, rows, columns] = shown.layer.shape;
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, canvas.height);
    context.clip();
    context.imageSmoothingEnabled = at.size < 1.5;
    context.imageSmoothingQuality = "high";
    context.drawImage(paint(shown), at.left, at.top, columns * at.size, rows * at.tall);
    context.restore();
  }

  function draw() {
    if (!shownNow.length) return;
    resize(shownNow[0].layer);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const split = shownNow.length === 2 ? Math.round(state.divider * canvas.width) : 0;
    if (shownNow.length === 2) {
      drawPart(shownNow[0], 0, split);
      drawPart(shownNow[1], split, canvas.width);
      drawDivider(split);
    } else drawPart(shownNow[0], 0, canvas.width);
    if (state.regions) drawRegions();
    label();
  }

  function drawDivider(split) {
    const unit = canvas.width / canvas.clientWidth, middle = canvas.height / 2;
    context.fillStyle = "#ffffff";
    context.fillRect(split - unit, 0, 2 * unit, canvas.height);
    context.beginPath();
    context.arc(split, middle, 13 * unit, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = "#1b2330";
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(split + side * 9 * unit, middle);
      context.lineTo(split + side * 4 * unit, middle - 5 * unit);
      context.lineTo(split + side * 4 * unit, middle + 5 * unit);
      context.fill();
    }
  }

  function drawRegions() {
    const layer = shownNow[0].layer;
    if (!layer.here) return;
    const at = place(layer), unit = canvas.width / canvas.clientWidth;
    context.font = `bold ${13 * unit}px system-ui, sans-serif`;
    context.lineWidth = 1.5 * unit;
    (slice().regions || []).forEach((region, number) => {
      const [left, top] = [at.left + (region[1] / layer.averaged) * at.size, at.top + (region[0] / layer.averaged) * at.tall];
      const [wide, high] = [(region[2] / layer.averaged) * at.size, (region[2] / layer.averaged) * at.tall];
      context.strokeStyle = "#ffb347";
      context.strokeRect(left, top, wide, high);
      context.lineWidth = 3 * unit;
      context.strokeStyle = "rgb(0 0 0 / 0.8)";
      context.strokeText(number + 1, left + wide + 3 * unit, top + 11 * unit);
      context.lineWidth = 1.5 * unit;
      context.fillStyle = "#ffb347";
      context.fillText(number + 1, left + wide + 3 * unit, top + 11 * unit);
    });
  }

  const digits = (value, step) => value.toFixed(Math.max(0, Math.min(6, -Math.floor(Math.log10(step || 1e-3)))));
  const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

  function label() {
    const two = shownNow.length === 2;
    const first = shownNow[0].layer;
    $("tag-left").textContent = two ? `before: ${first.label}` : "";
    $("tag-right").textContent = two ? `after: ${shownNow[1].layer.label}` : first.label;
    const layer = shownNow[shownNow.length - 1].layer;
    const [low, high] = limitsOf(layer);
    const near = (value) => withUnit(Number(value.toPrecision(4)).toString().replace("-", "−"), layer.unit);
    const notes = [];
    if (layer.scale === "signed") notes.push(`Fixed colours: ${near(low)} blue, 0 white, ${near(high)} red.`);
    else notes.push(`Black ${near(low)}, white ${near(high)}.`);
    const copies = shownNow.flatMap((shown) => (shown.layer.difference ? shown.layer.difference.map(meta) : [shown.layer]));
    for (const copy of copies) {
      const told = (value) => withUnit(Number(value.toPrecision(2)), copy.unit);
      if (copy.error) notes.push(`Display copy of ${copy.name}: ${told(copy.error[0])} from the file (root mean square), at most ${told(copy.error[1])}.`);
      else if (!copy.exact) notes.push(`Display copy of ${copy.name}: values rounded to ${told(copy.step)}.`);
      if (copy.averaged > 1) notes.push(`Averages of ${copy.averaged} × ${copy.averaged} pixels.`);
    }
    if (copies.every((copy) => copy.exact)) notes.push("Exact values of the files.");
    $("scale").textContent = [...new Set(notes)].join(" ");
    $("key").hidden = layer.scale !== "signed";
    if (layer.scale === "signed") drawKey();
    const many = group().slices.length > 1;
    canvas.setAttribute("aria-label", [
      two ? `Before and after of ${slice().name}, with a divider` : `${first.label} of ${slice().name}`,
      many ? `slice ${state.slice + 1} of ${group().slices.length}` : "",
    ].filter(Boolean).join(", "));
  }

  function drawKey() {
    const key = $("key"), wide = 160, image = new ImageData(wide, 1);
    if (key.dataset.drawn) return;
    key.width = wide;
    key.height = 1;
    for (let i = 0; i < wide; i++) signedColour(i / (wide - 1), image.data, 4 * i);
    key.getContext("2d").putImageData(image, 0, 0);
    key.dataset.drawn = "yes";
  }

  let scheduled = false;
  function soon() {
    if (scheduled) return;
    scheduled = true;
    requestAnimationFrame(() => {
      scheduled = false;
      draw();
    });
  }

  // What the reader chooses

  function setWindow(level, width, redraw = true) {
    if (!Number.isFinite(level) || !Number.isFinite(width)) return;
    state.level = level;
    state.width = Math.max(width, 1e-12);
    const tidy = (value) => Number(value.toPrecision(5));
    $("level").value = tidy(state.level);
    $("width").value = tidy(state.width);
    if (redraw) soon();
  }

  function resetWindow() {
    const [low, high] = slice().window;
    setWindow((low + high) / 2, high - low);
  }

  function setSlice(number) {
    state.slice = Math.max(0, Math.min(group().slices.length - 1, number));
    if (!modes().includes(state.mode)) state.mode = modes()[0];
    $("slice").value = state.slice;
    const name = slice().name;
    $("slice-name").textContent = `${state.slice + 1} of ${group().slices.length}: ${name}`;
    $("slice").setAttribute("aria-valuetext", `slice ${state.slice + 1}, ${name}`);
    fillModes();
    details();
    show();
  }

  function modes() {
    const names = slice().layers.map((layer) => layer.name);
    const both = meta("before") && meta("after") && String(meta("before").shape.slice(1)) === String(meta("after").shape.slice(1));
    return both ? ["compare", ...names] : names;
  }

  function fillModes() {
    const box = $("modes");
    const now = modes();
    if (box.dataset.names !== now.join()) {
      box.dataset.names = now.join();
      box.replaceChildren(...now.map((name) => choice("mode", name, name === "compare" ? "before | after" : meta(name).title || name)));
    }
    for (const input of box.querySelectorAll("input")) input.checked = input.value === state.mode;
    $("picture-bar").hidden = now.length < 2;
    const compare = state.mode === "compare";
    $("divider-field").hidden = !compare;
    const scale = now.length && state.mode ? (compare ? "window" : meta(state.mode).scale) : "window";
    for (const id of ["level", "width", "preset", "reset-window"]) $(id).disabled = scale !== "window";
    $("empty").hidden = now.length > 0;
    $("shown").hidden = now.length === 0;
  }

  function choice(group_, value, text) {
    const made = document.createElement("label"), input = document.createElement("input");
    input.type = "radio";
    input.name = group_;
    input.value = value;
    made.append(input, text);
    return made;
  }

  function details() {
    const section = $(`group-${state.group}`);
    for (const each of document.querySelectorAll("[data-group]")) each.hidden = Number(each.dataset.group) !== state.group;
    if (!section) return;
    for (const each of section.querySelectorAll("[data-slice]")) each.hidden = Number(each.dataset.slice) !== state.slice;
    for (const each of section.querySelectorAll(".curve")) each.classList.toggle("current", Number(each.dataset.run) === slice().run);
    $("regions-field").hidden = !(slice().regions || []).length;
  }

  function setGroup(number) {
    state.group = number;
    state.slice = number === page.first[0] ? page.first[1] : Math.floor(group().slices.length / 2);
    const many = group().slices.length > 1;
    $("slice").max = group().slices.length - 1;
    $("slice-field").hidden = !many;
    if (!modes().includes(state.mode)) state.mode = modes()[0] || "";
    state.zoom = 1;
    state.x = state.y = 0.5;
    resetWindow();
    const unit = (meta("after") || slice().layers[0] || {}).unit || "";
    $("level-unit").textContent = $("width-unit").textContent = unit ? `(${unit})` : "";
    fillPresets(unit);
    setSlice(state.slice);
  }

  const HU = [["soft tissue", 40, 400], ["lung", -600, 1500], ["bone", 500, 2000], ["brain", 40, 80], ["liver", 60, 160]];

  function fillPresets(unit) {
    const options = [["presets", null, null], ["as at first", "first", 0], ["all values", "all", 0], ...(unit === "HU" ? HU : [])];
    $("preset").replaceChildren(...options.map(([name, level, width]) => {
      const option = document.createElement("option");
      option.textContent = width ? `${name} (${level}, ${width})` : name;
      option.value = level === null ? "" : `${level} ${width}`;
      return option;
    }));
  }

  function usePreset(text) {
    if (!text) return;
    const [level, width] = text.split(" ");
    if (level === "first") resetWindow();
    else if (level === "all") {
      const layer = meta(state.mode) || meta("after");
      if (layer && layer.range) setWindow((layer.range[0] + layer.range[1]) / 2, layer.range[1] - layer.range[0] || 1);
    } else setWindow(Number(level), Number(width));
  }

  function setZoom(zoom, at) {
    // the point under the pointer stays where it is
    if (!shownNow.length) return;
    const layer = shownNow[0].layer;
    const before = pointIn(layer, at || [canvas.width / 2, canvas.height / 2]);
    state.zoom = Math.max(1, Math.min(64, zoom));
    if (state.zoom === 1) state.x = state.y = 0.5;
    else {
      const after = pointIn(layer, at || [canvas.width / 2, canvas.height / 2]);
      state.x += before[0] - after[0];
      state.y += before[1] - after[1];
    }
    keepInside();
    soon();
  }

  function keepInside() {
    state.x = Math.max(0, Math.min(1, state.x));
    state.y = Math.max(0, Math.min(1, state.y));
  }

  function pointIn(layer, [x, y]) {
    const at = place(layer), [, rows, columns] = layer.shape;
    return [(x - at.left) / (at.size * columns), (y - at.top) / (at.tall * rows)];
  }

  // Pointers

  const pointers = new Map();
  let last = null;
  const onCanvas = (event) => {
    const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  };

  function drag(event, from, to) {
    const right = event.buttons & 2;
    const tool = right ? "window" : event.buttons & 4 ? "pan" : state.tool;
    if (tool === "window") {
      const span = canvas.clientWidth || 1, ratio = canvas.width / span;
      setWindow(
        state.level - ((to[1] - from[1]) / ratio / 300) * state.width,
        state.width * Math.exp((to[0] - from[0]) / ratio / 200),
      );
    } else if (tool === "pan" && shownNow.length) {
      const layer = shownNow[0].layer, at = place(layer);
      state.x -= (to[0] - from[0]) / (at.size * layer.shape[2]);
      state.y -= (to[1] - from[1]) / (at.tall * layer.shape[1]);
      keepInside();
      soon();
    } else if (state.mode === "compare") setDivider(to[0] / canvas.width);
  }

  function setDivider(part) {
    state.divider = Math.max(0, Math.min(1, part));
    $("divider").value = Math.round(100 * state.divider);
    soon();
  }

  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, onCanvas(event));
    canvas.setPointerCapture(event.pointerId);
    last = onCanvas(event);
    if (state.tool === "divider" && event.button === 0 && state.mode === "compare") setDivider(last[0] / canvas.width);
  });
  canvas.addEventListener("pointermove", (event) => {
    const to = onCanvas(event);
    readout(to);
    if (!pointers.has(event.pointerId)) return;
    if (pointers.size === 2) {
      const [first, second] = [...pointers.keys()];
      const apart = () => Math.hypot(...[0, 1].map((i) => pointers.get(first)[i] - pointers.get(second)[i]));
      const old = apart();
      pointers.set(event.pointerId, to);
      const middle = [0, 1].map((i) => (pointers.get(first)[i] + pointers.get(second)[i]) / 2);
      if (old > 0) setZoom((state.zoom * apart()) / old, middle);
      return;
    }
    drag(event, last, to);
    pointers.set(event.pointerId, to);
    last = to;
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("dblclick", () => setZoom(state.zoom > 1 ? 1 : 4));

  let turned = 0;
  canvas.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      setZoom(state.zoom * Math.exp(-event.deltaY / 300), onCanvas(event));
      return;
    }
    if (group().slices.length < 2) return; // the page scrolls
    event.preventDefault();
    turned += event.deltaMode ? 40 * event.deltaY : event.deltaY;
    const steps = Math.trunc(turned / 40);
    if (steps) {
      turned -= 40 * steps;
      setSlice(state.slice + steps);
    }
  }, { passive: false });

  function readout([x, y]) {
    if (!shownNow.length) return;
    const layer = shownNow[0].layer, [, rows, columns] = layer.shape;
    const [right, down] = pointIn(layer, [x, y]);
    const [row, column] = [Math.floor(down * rows), Math.floor(right * columns)];
    if (row < 0 || column < 0 || row >= rows || column >= columns) return void ($("readout").textContent = "");
    const told = shownNow.map((shown) => {
      const size = rows * columns, parts = [];
      for (let channel = 0; channel < shown.layer.shape[0]; channel++) {
        const value = valueAt(shown, channel * size + row * columns + column);
        parts.push(value === value ? digits(value, shown.layer.step) : "none");
      }
      return `${shown.layer.title || shown.layer.name} ${withUnit(parts.join(" "), shown.layer.unit)}`.replaceAll("-", "−");
    });
    const factor = layer.averaged;
    $("readout").textContent = `row ${row * factor}, column ${column * factor}: ${told.join(", ")}`;
  }

  // Keys: on the picture, as the help below it says

  canvas.addEventListener("keydown", (event) => {
    const move = (x, y) => {
      state.x += x / state.zoom / 10;
      state.y += y / state.zoom / 10;
      keepInside();
      soon();
    };
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const many = group().slices.length > 1;
    const [x, y] = arrows[event.key] || [0, 0];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if ((x || y) && event.shiftKey) move(x, y);
    else if (x && state.mode === "compare") setDivider(state.divider + 0.02 * x);
    else if (y && many) setSlice(state.slice + y);
    else if (event.key === "PageDown" && many) setSlice(state.slice + 10);
    else if (event.key === "PageUp" && many) setSlice(state.slice - 10);
    else if (event.key === "Home" && many) setSlice(0);
    else if (event.key === "End" && many) setSlice(group().slices.length - 1);
    else if (event.key === "+" || event.key === "=") setZoom(1.25 * state.zoom);
    else if (event.key === "-") setZoom(state.zoom / 1.25);
    else if (event.key === "0") setZoom(1);
    else if (event.key === "b" && meta("before") && meta("after")) setMode(state.mode === "before" ? "after" : "before");
    else return;
    event.preventDefault();
  });

  function setMode(mode) {
    const old = (wanted()[0] || {}).shape;
    state.mode = mode;
    if (String(old) !== String((wanted()[0] || {}).shape)) {
      state.zoom = 1;
      state.x = state.y = 0.5;
    }
    fillModes();
    show();
  }

  $("modes").addEventListener("change", (event) => setMode(event.target.value));
  $("tools").addEventListener("change", (event) => {
    state.tool = event.target.value;
    canvas.style.touchAction = state.tool === "divider" ? "pan-y" : "none";
  });
  $("slice").addEventListener("input", (event) => setSlice(Number(event.target.value)));
  $("divider").addEventListener("input", (event) => setDivider(Number(event.target.value) / 100));
  $("level").addEventListener("change", () => setWindow($("level").valueAsNumber, state.width));
  $("width").addEventListener("change", () => setWindow(state.level, $("width").valueAsNumber));
  $("preset").addEventListener("change", (event) => {
    usePreset(event.target.value);
    event.target.value = "";
  });
  $("reset-window").addEventListener("click", resetWindow);
  $("zoom-in").addEventListener("click", () => setZoom(1.5 * state.zoom));
  $("zoom-out").addEventListener("click", () => setZoom(state.zoom / 1.5));
  $("zoom-fit").addEventListener("click", () => setZoom(1));
  $("regions").addEventListener("change", (event) => {
    state.regions = event.target.checked;
    soon();
  });
  if ($("group")) $("group").addEventListener("change", (event) => setGroup(Number(event.target.value)));
  window.addEventListener("resize", soon);
  document.addEventListener("DOMContentLoaded", () => {
    if (!page.groups.length) return;
    details();
    ahead();
    if (!shownNow.length) show();
  });

  if (page.groups.length) setGroup(state.group);
  $("viewer").hidden = false;
})();
