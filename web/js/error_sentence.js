// Says what our nodes say of an error, where the front end itself says only that a node failed: newer ones show a
// message of their own, and ours behind a button. Older ones, or those set so, open a dialog with ours in it.

import { app } from "../../../scripts/app.js";
import { isOurs } from "./pack.js";

const OWN_MESSAGE = "Comfy.RightSidePanel.ShowErrorsTab"; // the setting with which the message is the front end's own
const REFUSED = "custom_validation_failed"; // by VALIDATE_INPUTS of a node; the details are "<input> - <sentence>"
const READING_MS = 20000;

const MOST_SIGNS = 600; // of a sentence; what the front end shows on request has all of it

const titles = new Map(); // of our nodes, by class
let said = []; // since something was last queued

function say(sentence, kind) {
    const { setting, toast } = app.extensionManager ?? {};
    if (!sentence || !titles.has(kind) || !toast || !setting?.get(OWN_MESSAGE)) return;
    const summary = sentence.length > MOST_SIGNS ? `${sentence.slice(0, MOST_SIGNS)} …` : sentence;
    const detail = titles.get(kind);
    // A node is refused once for each of its inputs, and fails in every run of a batch.
    if (said.some((message) => message.summary === summary && message.detail === detail)) return;
    const message = { severity: "error", summary, detail, life: READING_MS };
    said.push(message);
    toast.add(message);
}

function takeBack() {
    for (const message of said) app.extensionManager.toast.remove(message);
    said = [];
}

function refused(errors) {
    for (const { class_type: kind, errors: ofNode } of Object.values(errors ?? {})) {
        for (const { type, details, extra_info: extra } of ofNode ?? []) {
            if (type !== REFUSED) continue;
            const input = `${extra?.input_name ?? ""} - `;
            say(details?.startsWith(input) ? details.slice(input.length) : details, kind);
        }
    }
}

app.registerExtension({
    name: "MGT.ErrorSentence",
    beforeRegisterNodeDef(_, definition) {
        if (isOurs(definition)) titles.set(definition.name, definition.display_name);
    },
    setup() {
        const { api } = app;
        api?.addEventListener?.("execution_error", ({ detail }) => {
            say(detail?.exception_message?.trim(), detail?.node_type);
        });
        // There is no event for what the server refuses to queue.
        const queue = api?.queuePrompt;
        if (typeof queue !== "function") return;
        api.queuePrompt = async function (...given) {
            takeBack();
            try {
                const answer = await queue.apply(this, given);
                refused(answer?.node_errors);
                return answer;
            } catch (error) {
                refused(error?.response?.node_errors);
                throw error;
            }
        };
    },
});
