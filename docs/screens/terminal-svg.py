#!/usr/bin/env python3
"""A terminal's screen as an SVG.

usage: tmux capture-pane -e -p -t PANE | terminal-svg.py [COLUMNS] > screen.svg

Reads text with SGR escape sequences (16, 256 and 24-bit colours, bold, dim, italic, underline, reverse) and draws every cell
where it was, so that the picture is the screen and nothing else. Other sequences are dropped.
"""
import html
import re
import sys
import unicodedata

WIDTH, HEIGHT, BASE, PAD = 8.4, 17, 13, 12
FOREGROUND, BACKGROUND = "#d0d4dc", "#14161b"
BASIC = ["#1c1f26", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf",
         "#5c6370", "#ff7b86", "#b5e890", "#ffd68a", "#7cc3ff", "#dc93f2", "#6fd3df", "#ffffff"]


def indexed(n):
    """Colour n of xterm's 256."""
    if n < 16:
        return BASIC[n]
    if n < 232:
        n -= 16
        return "#%02x%02x%02x" % tuple(0 if v == 0 else 55 + 40 * v for v in (n // 36, n // 6 % 6, n % 6))
    return "#%02x%02x%02x" % ((8 + 10 * (n - 232),) * 3)


def style(state, codes):
    codes = [int(c or 0) for c in codes]
    while codes:
        c = codes.pop(0)
        if c == 0:
            state = {}
        elif c in (1, 2, 3, 4, 7):
            state = {**state, c: True}
        elif c in (22, 23, 24, 27):
            off = {22: (1, 2), 23: (3,), 24: (4,), 27: (7,)}[c]
            state = {k: v for k, v in state.items() if k not in off}
        elif c in (38, 48):
            key = "fg" if c == 38 else "bg"
            kind = codes.pop(0) if codes else 0
            if kind == 5 and codes:
                state = {**state, key: indexed(codes.pop(0))}
            elif kind == 2 and len(codes) >= 3:
                state = {**state, key: "#%02x%02x%02x" % tuple(codes.pop(0) for _ in range(3))}
        elif c in (39, 49):
            state = {k: v for k, v in state.items() if k != ("fg" if c == 39 else "bg")}
        elif 30 <= c <= 37 or 90 <= c <= 97:
            state = {**state, "fg": BASIC[c - 30 if c < 90 else c - 82]}
        elif 40 <= c <= 47 or 100 <= c <= 107:
            state = {**state, "bg": BASIC[c - 40 if c < 100 else c - 92]}
    return state


def rows(text):
    """Runs of cells of one style: (row, column, text, cells, style)."""
    state = {}
    for row, line in enumerate(text.rstrip("\n").split("\n")):
        column = 0
        for part in re.split(r"(\x1b\[[0-9;:?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|\x0e|\x0f)", line):
            sgr = re.fullmatch(r"\x1b\[([0-9;:]*)m", part)
            if sgr:
                state = style(state, re.split("[;:]", sgr[1]))
            elif part and part[0] not in "\x1b\x0e\x0f":
                cells = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in part)
                yield row, column, part, cells, state
                column += cells


def main():
    runs = list(rows(sys.stdin.read()))
    if not runs:
        sys.exit("terminal-svg.py: nothing on standard input")
    columns = int(sys.argv[1]) if len(sys.argv) > 1 else max(c + n for _, c, _, n, _ in runs)
    lines = max(r for r, *_ in runs) + 1
    w, h = columns * WIDTH + 2 * PAD, lines * HEIGHT + 2 * PAD
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{w:.0f}" height="{h:.0f}" viewBox="0 0 {w:.1f} {h:.1f}">',
           f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>',
           '<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">']
    for row, column, text, cells, state in runs:
        fg, bg = state.get("fg", FOREGROUND), state.get("bg")
        if state.get(7):
            fg, bg = bg or BACKGROUND, fg
        x, y = PAD + column * WIDTH, PAD + row * HEIGHT
        if bg:
            out.append(f'<rect x="{x:.1f}" y="{y}" width="{cells * WIDTH:.1f}" height="{HEIGHT}" fill="{bg}"/>')
        if text.strip():
            more = "".join([' font-weight="bold"' if state.get(1) else "", ' opacity="0.6"' if state.get(2) else "",
                            ' font-style="italic"' if state.get(3) else "",
                            ' text-decoration="underline"' if state.get(4) else ""])
            # Without its blanks at the ends: renderers differ about those.
            lead = len(text) - len(text.lstrip(" "))
            x += lead * WIDTH
            body = text.strip(" ")
            span = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in body) * WIDTH
            body = html.escape(body).replace(" ", "\u00a0")
            out.append(f'<text x="{x:.1f}" y="{y + BASE}" textLength="{span:.1f}" lengthAdjust="spacingAndGlyphs" fill="{fg}"{more}>{body}</text>')
    out.append("</g></svg>")
    print("\n".join(out))


main()
