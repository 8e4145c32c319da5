// The template browsers list a pack's workflows as the server found them on its disk, in no order at all. Ours are
// named so that their names make an order, with a number before each; a name without one is a link, under which scripts
// open a file. Other packs' lists are handed on as they came.

import { app } from "../../../scripts/app.js";
import { PACK } from "./pack.js";

app.registerExtension({
    name: "MGT.TemplateOrder",
    init() {
        const { api } = app;
        const asked = api?.getWorkflowTemplates;
        if (typeof asked !== "function") return;
        api.getWorkflowTemplates = async function (...given) {
            const found = await asked.apply(this, given);
            if (!Array.isArray(found?.[PACK])) return found;
            const listed = found[PACK].filter((name) => /^\d/.test(name));
            const sorted = listed.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
            return { ...found, [PACK]: sorted };
        };
    },
});
