// Shows a widget only under the choices that need it. The node says so in the options of an input, as
//     "mgt_shown_for": {"schedule": ["sigmoid"]}
// (nodes/shown.py), and the value stays where it was, so that saved workflows hold what they always held.
// A widget that is wired is shown whatever is chosen; a choice that is wired is not known here, and hides nothing.

import { app } from "../../../scripts/app.js";

const RULE = "mgt_shown_for";
const SAME_HEIGHT = 4; // pixels by which front ends differ in what a node needs
const rulesOf = new Map(); // by class of node: [widget, rule] of each input that has one

const wired = (node, name) =>
    node.inputs?.some((input) => input.widget?.name === name && input.link != null) ?? false;

function needed(node, name, rule) {
    if (wired(node, name)) return true;
    return Object.entries(rule).every(([choice, values]) => {
        const widget = node.widgets?.find((widget) => widget.name === choice);
        return !widget || wired(node, choice) || values.includes(widget.value);
    });
}

// A property whose value is worked out when it is read: it cannot fall behind the choice, however that was changed
// (by hand, undo, paste, a script), and where the front end is reactive the choice is one of what it depends on.
function derive(object, key, enumerable, value) {
    let own = object[key];
    const get = () => value(own);
    const set = (given) => {
        own = given;
    };
    Object.defineProperty(object, key, { configurable: true, enumerable, get, set });
}

// Classic nodes look at `hidden`, and older ones leave room for whatever has a size; Nodes 2.0 spreads the options.
// Not enumerable on the widget itself: copies of it, as subgraphs show them, are no part of this node.
function hideWhen(widget, hidden) {
    derive(widget, "hidden", false, (own) => hidden() || own);
    derive(widget, "computeSize", false, (own) => (hidden() ? () => [0, -4] : own));
    widget.options ??= {};
    derive(widget.options, "hidden", true, (own) => hidden() || own);
}

function follow(node, rules) {
    let measured = null; // names of the widgets that are there, while it is measured how high the node is with these
    const needs = (names) => {
        measured = names;
        const height = node.computeSize()[1];
        measured = null;
        return height;
    };
    const all = rules.map(([name]) => name);
    const shown = () => rules.filter(([name, rule]) => needed(node, name, rule)).map(([name]) => name);
    for (const [name, rule] of rules) {
        const widget = node.widgets?.find((widget) => widget.name === name);
        if (!widget) continue;
        const hidden = () => (measured ? !measured.includes(name) : !needed(node, name, rule));
        // Beside a seed there is the widget that says what becomes of it after a run.
        for (const each of [widget, ...(widget.linkedWidgets ?? [])]) hideWhen(each, hidden);
    }

    let last = all;
    let spare = 0; // height of a folded node, when it was open, beyond what it needed
    let saved = null; // height in a file, for which the node was not fitted yet
    let reading = false; // when it is wired again before it has its values
    // As much higher or lower as these widgets are. Nodes 2.0 measures its nodes itself, and grows what is too low.
    const refit = () => {
        if (reading || node.collapsed) return; // a folded node has no widgets
        if (saved !== null) fitFile();
        const [before, now] = [needs(last), needs((last = shown()))];
        if (before === now) return;
        const height = window.LiteGraph?.vueNodesMode ? now : Math.max(now, node.size[1] + now - before);
        node.setSize([node.size[0], height]);
        app.canvas?.setDirty(true, true);
    };
    // A file keeps the size it was saved with; one from before fields were hidden has room for all of them.
    const fitFile = () => {
        last = shown();
        const [whole, now] = [needs(all), needs(last)];
        if (whole !== now && Math.abs(saved - whole) <= SAME_HEIGHT) node.setSize([node.size[0], now]);
        saved = null;
    };
    const after = (object, key, act) => {
        const earlier = object[key];
        object[key] = function (...given) {
            const answer = earlier?.apply(this, given);
            act();
            return answer;
        };
    };

    refit();
    const choices = new Set(rules.flatMap(([, rule]) => Object.keys(rule)));
    for (const widget of node.widgets ?? []) if (choices.has(widget.name)) after(widget, "callback", refit);
    after(node, "onConnectionsChange", refit);
    // Nodes 2.0 gives an unfolded node its earlier size at first; older hosts may have made it higher by then.
    const collapse = node.collapse;
    node.collapse = function (...given) {
        if (!node.collapsed) spare = Math.max(0, node.size[1] - needs(last));
        collapse.apply(this, given);
        if (window.LiteGraph?.vueNodesMode) return void setTimeout(refit);
        if (node.collapsed || saved !== null) return refit();
        last = shown();
        node.setSize([node.size[0], needs(last) + spare]);
    };
    const configure = node.configure;
    node.configure = function (...given) {
        reading = true;
        try {
            return configure.apply(this, given);
        } finally {
            reading = false;
            saved = node.size[1];
            refit();
        }
    };
}

app.registerExtension({
    name: "MGT.ShownFor",
    beforeRegisterNodeDef(_, definition) {
        const inputs = { ...definition.input?.required, ...definition.input?.optional };
        const rules = Object.entries(inputs).map(([name, [, options]]) => [name, options?.[RULE]]);
        const some = rules.filter(([, rule]) => rule);
        if (some.length) rulesOf.set(definition.name, some);
    },
    nodeCreated(node) {
        const rules = rulesOf.get(node.comfyClass ?? node.type);
        if (rules) follow(node, rules);
    },
});
