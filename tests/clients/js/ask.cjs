// One question through a JavaScript package; run by tests/clients/askers.py.
const { createRequire } = require("node:module");

const packages = createRequire(process.env.CLIENTS_JS + "/");
const { package: name, url, model, text } = JSON.parse(process.argv[2]);
const Client = packages(name);
const options = { apiKey: "none", maxRetries: Number(process.argv[3]) };
const messages = [{ role: "user", content: text }];

async function ask() {
  if (name === "openai") {
    const client = new Client({ baseURL: url + "/v1", ...options });
    const { choices } = await client.chat.completions.create({ model, max_tokens: 64, messages });
    return choices[0].message.content;
  }
  const client = new Client({ baseURL: url, ...options });
  const { content } = await client.messages.create({ model, max_tokens: 64, messages });
  return content[0].text;
}

ask().then(
  (text) => console.log(JSON.stringify({ text })),
  (error) => {
    const { status, message } = error;
    console.log(JSON.stringify({ error: error.constructor.name, status, message }));
  },
);
