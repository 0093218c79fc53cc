// AsyncAPI's own parser over a document: node asyncapi.cjs FILE; anything that it has to say is a failure.
const fs = require('node:fs');
const { Parser } = require('@asyncapi/parser');

const file = process.argv[2];
new Parser().parse(fs.readFileSync(file, 'utf8')).then(({ document, diagnostics }) => {
    const told = diagnostics.map(({ path, message }) => `${file}: ${path.join('.')}: ${message}`);
    if (told.length > 0 || !document) {
        console.error(told.join('\n') || `${file} is no AsyncAPI document`);
        process.exit(1);
    }
    const [channels, operations] = [document.channels(), document.operations()].map((all) => all.all().length);
    console.log(`${file}: AsyncAPI ${document.version()}, ${channels} channels, ${operations} operations`);
});
