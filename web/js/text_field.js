// A text to read and copy, as high as it needs, up to a height from which on it scrolls. A field for text has no
// height of its own, so the same text lies behind it, unseen, and gives its height to both.

import { app } from "../../../scripts/app.js";

const TEXT = {
    gridArea: "1 / 1",
    boxSizing: "border-box",
    margin: "0",
    border: "0",
    padding: "6px 8px",
    font: "inherit",
    fontSize: "var(--comfy-textarea-font-size, 10px)",
    lineHeight: "1.5",
    whiteSpace: "pre-wrap",
    overflowWrap: "break-word",
};
const BEHIND = { ...TEXT, alignSelf: "start", overflow: "hidden", visibility: "hidden" };
const FIELD = {
    ...TEXT,
    height: "100%",
    minHeight: "0",
    resize: "none",
    outline: "none",
};
// As fields of the front end's own look.
const CLASSIC = { color: "var(--input-text)", background: "var(--comfy-input-bg)" };
const NODES_2 = {
    color: "var(--component-node-foreground)",
    background: "var(--component-node-widget-background)",
    borderRadius: "8px",
};
// What a middle button does to the canvas, also over a field.
const MOVES = { pointerdown: "processMouseDown", pointermove: "processMouseMove", pointerup: "processMouseUp" };

// Whether the front end draws nodes as HTML (Nodes 2.0), which it also measures by itself.
export const inHtml = () => window.LiteGraph?.vueNodesMode ?? false;

// mostHigh: pixels. Answers with the element for the node, the field in it, and what is as high as the text needs.
export function textField(label, mostHigh) {
    const whole = document.createElement("div");
    const behind = document.createElement("div");
    const field = document.createElement("textarea");
    Object.assign(whole.style, { display: "grid", width: "100%", minHeight: "0" });
    Object.assign(behind.style, BEHIND, { maxHeight: `${mostHigh}px` });
    Object.assign(field.style, FIELD, inHtml() ? NODES_2 : CLASSIC);
    Object.assign(field, { readOnly: true, spellcheck: false, ariaLabel: label });
    whole.append(behind, field);

    for (const [kind, move] of Object.entries(MOVES)) {
        field.addEventListener(kind, (event) => {
            if (event.button === 1 || event.buttons & 4) app.canvas[move](event);
        });
    }
    whole.dataset.captureWheel = "true"; // in HTML the wheel scrolls what was clicked
    field.addEventListener("wheel", (event) => {
        if (inHtml() || (!event.ctrlKey && field.scrollHeight > field.clientHeight)) return;
        event.preventDefault();
        app.canvas.processMouseWheel(event);
    });
    return { whole, behind, field };
}
