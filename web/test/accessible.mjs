/** axe-core's findings on a page, and whether the page fits its window. */

import axe from "axe-core";

/** The serious and critical findings, and the width of content that does not fit. */
export async function serious(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  const [wide, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  return wide <= width ? found : [...found, `${wide} pixels of content`];
}
