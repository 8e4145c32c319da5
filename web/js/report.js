// Shows what a node of ours reports at its end (nodes/reported.py) in a field of the node, as high as the text needs.
// The field comes with the first report, and is no part of what is saved or queued: a file holds neither the text nor
// the height that it took.

import { app } from "../../../scripts/app.js";
import { isOurs } from "./pack.js";
import { inHtml, textField } from "./text_field.js";

const MOST_HIGH = 400; // pixels
const NOT_SEEN_YET = 60;
const MARGIN = 10; // that classic nodes leave around a field
const PICTURES = "$$"; // begins the names of what the front end itself adds to a node
const MEASURED_MS = 300; // after which Nodes 2.0 has measured a node

const ours = new Set(); // classes of our nodes
const reports = new WeakMap(); // of a node: the function that shows a text in it

function addReport(node) {
    const { whole, behind, field } = textField(`${node.title}: report`, MOST_HIGH);
    let needed = NOT_SEEN_YET;
    let before = null; // height of the node, where there is a text that it was not fitted to
    let grown = 0; // what the report took beyond that
    const high = () => needed + 2 * MARGIN;
    const widget = node.addDOMWidget("report", "mgt_report", whole, {
        serialize: false,
        hideInPanel: true,
        margin: MARGIN,
        getMinHeight: high,
        getMaxHeight: high,
        getValue: () => field.value,
        setValue: () => {},
    });
    widget.serialize = false;
    // Classic nodes draw pictures down to their lower edge, whatever comes after these.
    const picture = node.widgets.findIndex(({ name }) => name.startsWith(PICTURES));
    if (picture >= 0) node.widgets.splice(picture, 0, node.widgets.pop());

    // Once for a text, when it is on the screen: what a hand makes of the node afterwards stays.
    const fit = () => {
        if (Math.abs(behind.offsetWidth - node.size[0]) > 4 * MARGIN) return; // not laid out, or nowhere to be seen
        needed = behind.offsetHeight;
        app.canvas?.setDirty(true, true);
        if (before === null) return;
        const own = before;
        before = null;
        const grew = () => {
            grown = Math.max(0, node.size[1] - own);
        };
        if (inHtml()) return setTimeout(grew, MEASURED_MS); // it grows what is too low by itself
        node.setSize([node.size[0], Math.max(own, node.computeSize()[1])]);
        grew();
    };
    const observer = new ResizeObserver(fit);

    const earlier = node.onSerialize;
    node.onSerialize = function (saved) {
        earlier?.call(this, saved);
        if (grown) saved.size = [saved.size[0], saved.size[1] - grown];
    };
    return (text) => {
        if (text === field.value) return;
        before = node.size[1] - grown;
        if (grown) node.setSize([node.size[0], before]);
        grown = 0;
        field.value = behind.textContent = text;
        observer.unobserve(behind);
        observer.observe(behind); // answers in any case, also where the height is the same
    };
}

function show(node, output) {
    const text = output?.text;
    if (!ours.has(node?.comfyClass) || !Array.isArray(text) || !(text[0] || reports.has(node))) return;
    if (!reports.has(node)) reports.set(node, addReport(node));
    reports.get(node)(text.join("\n"));
}

// Outputs are kept by the id of their node, behind that of the subgraph that it lies in.
function nodeAt(place) {
    const root = app.rootGraph ?? app.graph?.rootGraph ?? app.graph;
    const [id, subgraph] = place.split(":").reverse();
    return (subgraph ? root?.subgraphs?.get(subgraph) : root)?.getNodeById(id);
}

app.registerExtension({
    name: "MGT.Report",
    beforeRegisterNodeDef(_, definition) {
        if (isOurs(definition)) ours.add(definition.name);
    },
    nodeCreated(node) {
        if (!ours.has(node.comfyClass)) return;
        const earlier = node.onExecuted;
        node.onExecuted = function (output) {
            earlier?.call(this, output);
            show(this, output);
        };
    },
    // Of a graph that was left and is looked at again.
    onNodeOutputsUpdated(outputs) {
        for (const [place, output] of Object.entries(outputs ?? {})) show(nodeAt(place), output);
    },
});
