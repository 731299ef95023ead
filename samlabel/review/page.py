"""Markup and style of the page that `samlabel view` writes: no script, nothing loaded from elsewhere."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#f6f6f8;--card:#fff;--ink:#1b1b22;--soft:#6a6a78;--edge:#e2e2e9}
@media(prefers-color-scheme:dark){:root{--bg:#141418;--card:#1e1e25;--ink:#ececf2;--soft:#9c9cab;--edge:#30303a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
header{position:sticky;top:0;z-index:1;padding:14px 24px;background:var(--bg);border-bottom:1px solid var(--edge);
max-height:40vh;overflow:auto}
h1{display:inline;font-size:18px;margin:0 12px 0 0}
header p{display:inline;margin:0;color:var(--soft)}
.unused{display:block;font-size:13px}
fieldset{border:0;margin:10px 0 0;padding:0;display:flex;flex-wrap:wrap;gap:6px}
fieldset input{position:absolute;opacity:0}
fieldset label{padding:2px 10px;border:1px solid var(--edge);border-radius:99px;background:var(--card);cursor:pointer;
font-size:14px}
fieldset input:checked+label{border-color:var(--ink);box-shadow:inset 0 0 0 1px var(--ink)}
fieldset input:focus-visible+label{outline:2px solid Highlight}
i{display:inline-block;width:10px;height:10px;border-radius:50%;background:var(--c);margin-right:6px}
b{font-weight:600;color:var(--soft)}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(420px,100%),1fr));gap:20px;padding:24px;
align-items:start}
.card{background:var(--card);border:1px solid var(--edge);border-radius:12px;overflow:hidden}
.card img{display:block;width:100%;height:auto;max-height:70vh;object-fit:contain;background:#0b0b0e}
.card h2{font-size:14px;font-weight:600;margin:10px 14px 0;overflow-wrap:anywhere}
.card p{margin:0 14px 10px;color:var(--soft);font-size:13px}
.broken{padding:40px 20px;text-align:center;color:var(--soft);background:repeating-linear-gradient(45deg,transparent,
transparent 10px,var(--edge) 10px,var(--edge) 11px);overflow-wrap:anywhere}
details{border-top:1px solid var(--edge);padding:8px 14px}
summary{cursor:pointer;font-size:13px}
details table{width:100%;border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums;margin-top:6px;
display:block;overflow-x:auto}
th{text-align:right;font-weight:500;color:var(--soft);padding:2px 8px;white-space:nowrap}
td{text-align:right;padding:2px 8px;border-top:1px solid var(--edge);white-space:nowrap}
th:nth-child(-n+2),td:nth-child(-n+2){text-align:left}
"""

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{generator}
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Labels: {images} images</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Labels</h1><p>{totals}</p>
<fieldset><input type="radio" name="class" id="all" checked><label for="all">All</label>
{chips}</fieldset>
{unused}</header>
<main>
"""

FOOT = "</main>\n</body>\n</html>\n"
