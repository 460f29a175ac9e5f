// Starts Swagger UI. Its requests go to the address of this page, to which a proxy may have added a prefix.

const home = new URL(".", location.href);
// The page keeps the key of the service there. Swagger UI does not get it, as it shows all headers that it sends.
const key = sessionStorage.getItem("attention-service.key");
const answer = await fetch(new URL("openapi.json", home), key ? { headers: { Authorization: `Bearer ${key}` } } : {});

if (answer.ok) {
  const spec = { ...(await answer.json()), servers: [{ url: home.href }] };
  window.SwaggerUIBundle({
    spec,
    dom_id: "#swagger-ui",
    deepLinking: true,
    validatorUrl: null, // else the document is sent to another host
  });
} else {
  document.getElementById("swagger-ui").textContent =
    answer.status === 401
      ? "The service needs a key. Enter it on the page of the service, in this tab, and follow the link to the documentation there."
      : `The service answered with status ${answer.status}.`;
}
