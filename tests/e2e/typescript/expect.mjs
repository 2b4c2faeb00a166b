// What the scripts that run the official TypeScript client share: expectations, and a walk through paged lists.

const ITEMS_MAX = 1_000;

export function expect(condition, what, seen) {
  if (condition) return;
  const detail = seen === undefined ? '' : `\n  seen: ${JSON.stringify(seen)?.slice(0, 2000)}`;
  throw new Error(`${what}${detail}`);
}

export function expectEqual(seen, wanted, what) {
  expect(JSON.stringify(seen) === JSON.stringify(wanted), `${what}: wanted ${JSON.stringify(wanted)}`, seen);
}

export async function expectRefused(type, status, work, what) {
  try {
    await work();
  } catch (error) {
    expect(error instanceof type, `${what}: wanted ${type.name}`, { name: error.constructor.name, text: `${error}` });
    expectEqual(error.status, status, `${what}: status`);
    const detail = error.error?.detail;
    expect(typeof detail === 'string' && detail.length > 0, `${what}: "detail" says why`, error.error);
    return;
  }
  throw new Error(`${what}: it was not refused`);
}

export async function all(pages) {
  const items = [];
  for await (const item of pages) {
    items.push(item);
    expect(items.length <= ITEMS_MAX, 'a paged list comes to an end');
  }
  return items;
}

export function textOf(message) {
  if (typeof message.content === 'string') return message.content;
  return (message.content ?? []).map((part) => part.text ?? '').join('');
}
