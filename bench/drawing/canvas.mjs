/** A chart's description as an SVG file, without a browser. */

/** @typedef {{ title: string, width: number, height: number, option: object }} Drawing */

/**
 * Colours that can be read on white and on GitHub's dark background alike: the page shows through, and a file cannot
 * know which of the two it is.
 */
export const palette = ['#2f81f7', '#d9822b', '#2ea043', '#a371f7', '#db61a2', '#7d8590']
export const ink = '#7d8590'
export const faint = '#7d859055'
// No quotes in a font's name: echarts writes them into the attribute as they are.
export const textStyle = { color: ink, fontFamily: 'system-ui, sans-serif', fontSize: 13 }

/** @param {Drawing} drawing @returns {Promise<string>} */
export async function render({ title, width, height, option }) {
  // By a name that the compiler does not follow: a checkout need not have bench/package.json installed.
  const library = 'echarts'
  const echarts = await import(library).catch(() => {
    throw new Error('charts are drawn by echarts: run npm --prefix bench ci')
  })
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width, height })
  chart.setOption({
    title: titleOf(title),
    animation: false,
    backgroundColor: 'transparent',
    color: palette,
    textStyle,
    ...option,
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return asPicture(svg, title)
}

/**
 * For an <img>: with a title for those who cannot see it, and without what only a live page has use for (the style of
 * what the mouse is on, and its classes, numbered anew with each drawing).
 *
 * @param {string} svg
 * @param {string} title
 */
function asPicture(svg, title) {
  return svg
    .replace(/<style[\s\S]*?<\/style>\s*/, '')
    .replaceAll(/ class="zr[^"]*"/g, '')
    .replace(/^<svg[^>]*>/, (tag) => `${tag}\n<title>${title.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</title>`)
}

/** @param {string} text */
function titleOf(text) {
  return { text, left: 0, top: 0, textStyle: { ...textStyle, fontSize: 15, fontWeight: 600 } }
}

/** @param {number} value */
export function shown(value) {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en', { maximumFractionDigits: digits })
}
