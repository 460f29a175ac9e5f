// Starts Swagger UI. Its requests go to the address of this page, to which a proxy may have added a prefix.

const home = new URL(".", location.href);
const answer = await fetch(new URL("openapi.json", home));
const spec = { ...(await answer.json()), servers: [{ url: home.href }] };

window.SwaggerUIBundle({
  spec,
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null, // else the document is sent to another host
});
