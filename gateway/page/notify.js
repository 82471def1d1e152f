// Shows the messages of a ticket's page, where a browser lets only a worker do
// so, and leads back to that page. It keeps nothing and stands between nothing.
addEventListener('notificationclick', (e) => {
  e.notification.close();
  e.waitUntil(clients.matchAll({ type: 'window', includeUncontrolled: true }).then((pages) => {
    const page = pages.find((p) => new URL(p.url).pathname === '/ticket');
    return page?.focus();
  }));
});
