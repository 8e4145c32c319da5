// What the front end calls this pack: the name of the folder that the pack was installed into.

const name = decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-3));

export const PACK = name;

// Whether a node's definition, as the server hands it out, is one of this pack.
export const isOurs = (definition) => definition.python_module === `custom_nodes.${PACK}`;
