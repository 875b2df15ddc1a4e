// SPDX-License-Identifier: MIT
#include "report/html.hpp"

namespace eso_program {
namespace {

/// Colours: the sets differ in lightness as well as in hue, for readers who do not see all hues.
constexpr const char* colours = R"(
:root{color-scheme:light dark;
--paper:#fcfcfb;--raised:#f4f5f3;--ink:#191c20;--soft:#565d66;--faint:#868d95;--hair:#e1e3e0;--grid:#e8eae7;
--k0:#5f6670;--k1:#0b6bb5;--k2:#cf4f00;--k3:#008763;--k4:#a8327a;--k5:#8f6c00;--k6:#5a4bc0;--k7:#1592ad;
--better:#0b6bb5;--worse:#d9650b}
@media(prefers-color-scheme:dark){:root{
--paper:#131518;--raised:#1c1f23;--ink:#e8eaec;--soft:#a9b0b8;--faint:#7d858e;--hair:#2e3237;--grid:#262a2e;
--k0:#aeb5bd;--k1:#58b0f2;--k2:#ff8a4a;--k3:#36c79c;--k4:#ee85c1;--k5:#dcb33c;--k6:#a99cff;--k7:#52cbe2;
--better:#58b0f2;--worse:#ff9a4d}}
@media print{:root{--paper:#fff;--raised:#f5f5f5;--ink:#000;--soft:#444;--faint:#777;--hair:#ccc;--grid:#e4e4e4;
--k0:#5f6670;--k1:#0b6bb5;--k2:#cf4f00;--k3:#008763;--k4:#a8327a;--k5:#8f6c00;--k6:#5a4bc0;--k7:#1592ad;
--better:#0b6bb5;--worse:#d9650b}}
.k0{--k:var(--k0)}.k1{--k:var(--k1)}.k2{--k:var(--k2)}.k3{--k:var(--k3)}
.k4{--k:var(--k4)}.k5{--k:var(--k5)}.k6{--k:var(--k6)}.k7{--k:var(--k7)}
)";

constexpr const char* text = R"(
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,"Liberation Sans",sans-serif;font-variant-numeric:tabular-nums}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
header{padding-top:48px}
.kind{margin:0 0 6px;font-size:13px;font-weight:700;color:var(--k1);letter-spacing:.02em}
.kind span{color:var(--faint);font-weight:400}
h1{margin:0;font-size:34px;line-height:1.15;letter-spacing:-.02em;font-weight:700;overflow-wrap:anywhere}
h2{margin:0 0 16px;font-size:22px;line-height:1.25;letter-spacing:-.01em}
h3{margin:28px 0 10px;font-size:16px}
h4{margin:0 0 3px;font-size:12px;font-weight:600;color:var(--faint)}
p{margin:0 0 14px;max-width:74ch}
.lede{margin:12px 0 0;font-size:19px;line-height:1.45;color:var(--soft);overflow-wrap:anywhere}
.note{font-size:13.5px;line-height:1.5;color:var(--soft);max-width:92ch}
section{margin-top:52px;padding-top:24px;border-top:1px solid var(--hair)}
small{font-size:.82em;color:var(--soft);font-weight:400}
footer{margin-top:64px;padding-top:18px;padding-bottom:48px;color:var(--faint);font-size:13px}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(172px,1fr));gap:22px 26px;margin:36px 0 0}
.figures div{min-width:0}
.figures dt{font-size:13px;color:var(--soft)}
.figures dd{margin:0;font-size:24px;line-height:1.25;font-weight:650;letter-spacing:-.015em;overflow-wrap:anywhere}
.figures .remark{font-size:12.5px;line-height:1.4;font-weight:400;letter-spacing:0;color:var(--faint)}
.findings{list-style:none;margin:20px 0 0;padding:0;max-width:100ch;border-top:1px solid var(--hair)}
.findings li{display:grid;grid-template-columns:136px 1fr;gap:14px;padding:9px 0;font-size:15px;border-bottom:1px solid var(--hair);
overflow-wrap:anywhere}
.tag{font-size:13px;line-height:1.9;font-weight:600;color:var(--soft)}
.tag::before{content:"";display:inline-block;width:9px;height:9px;margin-right:8px;border-radius:50%;
border:2px solid var(--faint)}
.tag.good{color:var(--better)}.tag.good::before{background:var(--better);border-color:var(--better)}
.tag.part{color:var(--ink)}.tag.part::before{border-color:var(--better);background:linear-gradient(90deg,var(--better) 50%,transparent 50%)}
.tag.bad{color:var(--worse)}.tag.bad::before{background:var(--worse);border-color:var(--worse);border-radius:1px}
.key{white-space:nowrap}
.key i{display:inline-block;width:14px;height:0;margin:0 6px 3px 0;border-top:3px solid var(--k);border-radius:2px}
.key.dashed i{border-top-style:dashed;border-top-width:2px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-size:13px;color:var(--soft)}
)";

constexpr const char* plots = R"(
figure{margin:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(320px,100%),1fr));gap:34px 36px;align-items:start}
.plots.two{grid-template-columns:repeat(auto-fill,minmax(min(440px,100%),1fr));margin-bottom:8px}
.plot figcaption{font-size:14px;line-height:1.45;margin-bottom:4px}
.plot .unit{color:var(--faint);font-size:13px}
.plot .note{margin:2px 0 0;font-size:12.5px}
.plot.wide{margin-bottom:22px}
svg{display:block;width:100%;overflow:visible}
svg text{font-family:inherit;font-size:12px;fill:var(--soft)}
svg .labels text{paint-order:stroke;stroke:var(--paper);stroke-width:3px;stroke-linejoin:round}
svg .labels .direct{font-size:13px}svg .labels .point{font-size:11px}
svg .mid{text-anchor:middle}svg .end{text-anchor:end}svg .start{text-anchor:start}
svg .name{fill:var(--faint)}
.grid{stroke:var(--grid);stroke-width:1;fill:none}
.base,.tick{stroke:var(--faint);stroke-width:1;fill:none}
.line{fill:none;stroke:var(--k);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.dashed{stroke-dasharray:5 4}
.faint{fill:none;stroke:var(--k);stroke-width:1;opacity:.28;stroke-linejoin:round}
.band{fill:var(--k);opacity:.15}
svg text.direct{fill:var(--k);font-weight:600}
svg text.point{fill:var(--k)}
.mark path{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3;fill:none}
.mark text{fill:var(--ink)}
.dot{fill:var(--k);stroke:var(--paper);stroke-width:1.5}
.hits rect{fill:transparent}
.hits rect:hover{fill:var(--ink);opacity:.09}
.on-narrow{display:none}
.dots{margin:6px 0 18px}
.group{margin-top:22px}
.row{display:grid;grid-template-columns:minmax(90px,200px) 1fr 46px 152px;column-gap:14px;align-items:center}
.row>.name{font-size:14px;font-weight:600;color:var(--k);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.row .value{font-weight:650;text-align:right}
.row .remark{font-size:13.5px;color:var(--soft);white-space:nowrap}
.row.head>.name{font-size:16px;color:var(--ink)}
.row.head .remark{color:var(--faint);overflow:hidden;text-overflow:ellipsis}
.strip .reference{stroke:var(--k0);stroke-width:1.5}
.strip .lead{stroke:var(--ink);stroke-width:1.2;stroke-dasharray:3 3}
.strip text.lead{stroke:none;fill:var(--ink)}
.strip .error{stroke:var(--k);stroke-width:2}
.strip .part{fill:none;stroke:var(--k);stroke-width:1.2;opacity:.75}
)";

constexpr const char* tables = R"(
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:14px;width:100%}
th,td{padding:6px 12px 6px 0;text-align:right;white-space:nowrap;vertical-align:baseline}
thead th{font-weight:600;font-size:13px;color:var(--soft);border-bottom:1px solid var(--faint);line-height:1.3}
thead small{display:block;color:var(--faint)}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper);padding-right:18px}
tbody th{font-weight:600;max-width:260px;overflow:hidden;text-overflow:ellipsis}
tbody tr+tr td,tbody tr+tr th{border-top:1px solid var(--hair)}
.group th{padding-top:20px;color:var(--soft);font-size:13px}
.best{font-weight:700}
.settings th,.settings td{text-align:left;white-space:pre-wrap;overflow-wrap:anywhere}
.settings th{width:190px;color:var(--soft);position:static}
.settings td{font:13px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace}
.config{margin:0;padding:16px 18px;background:var(--raised);border-radius:6px;overflow-x:auto;
font:13px/1.55 ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere}
.step{margin-top:36px}
.example{padding:16px 0 20px;border-top:1px solid var(--hair)}
.step+.example{border-top:0;padding-top:4px}
.given{display:grid;grid-template-columns:minmax(0,3fr) minmax(0,2fr);gap:12px 32px;margin-bottom:14px}
.text{white-space:pre-wrap;overflow-wrap:anywhere;font-size:14.5px;line-height:1.45;unicode-bidi:isolate}
.text.none{color:var(--faint);font-style:italic}
details.text{white-space:normal}
details.text>*{white-space:pre-wrap}
details summary{cursor:pointer;list-style-position:outside;margin-left:16px}
details[open] summary{color:var(--faint)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(230px,100%),1fr));gap:12px}
.card{background:var(--raised);border-radius:6px;padding:9px 12px 11px;min-width:0}
.cards .card{background:color-mix(in srgb,var(--tint,var(--raised)) calc(var(--share,0%)*.3),var(--raised));
box-shadow:inset 3px 0 color-mix(in srgb,var(--tint,var(--hair)) var(--share,0%),var(--hair))}
.about{display:flex;flex-wrap:wrap;gap:0 10px;align-items:baseline;font-size:12.5px;color:var(--soft);margin-bottom:3px}
.score{font-weight:700;color:var(--ink)}
.advantage{font-weight:600;color:var(--tint)}
.size{margin-left:auto;color:var(--faint)}
.answers{display:grid;gap:8px}
.answer{display:grid;grid-template-columns:150px minmax(0,1fr) minmax(0,1fr);gap:12px;align-items:stretch}
.answer h5{margin:9px 0 0;font-size:13.5px;color:var(--k);white-space:normal;overflow-wrap:anywhere}
)";

constexpr const char* sizes = R"(
@media(max-width:720px){
header,main,footer{padding-left:16px;padding-right:16px}
header{padding-top:28px}
h1{font-size:27px}.lede{font-size:17px}
section{margin-top:38px}
.figures{grid-template-columns:repeat(2,minmax(0,1fr));gap:18px}
.figures dd{font-size:21px}
.findings li{grid-template-columns:1fr;gap:0}
.on-wide{display:none}.on-narrow{display:block}
.row{grid-template-columns:minmax(0,1fr) auto auto;column-gap:10px}
.row .strip{grid-row:2;grid-column:1/-1}
.row:not(.axis):not(.head){padding-top:5px}
.row.axis>.name{display:none}.row.axis .strip{grid-row:1}
.row .remark{font-size:12.5px}
.given{grid-template-columns:1fr}
.answer{grid-template-columns:1fr;gap:6px;margin-bottom:10px}
.answer h5{margin-top:4px}
}
@media print{
body{font-size:11pt}
header{padding-top:0}
section{margin-top:28px}
figure,.card,.answer,.findings li,tr{break-inside:avoid}
h2,h3,h4{break-after:avoid}
.plots{grid-template-columns:repeat(2,1fr)}
.scroll{overflow:visible}table{font-size:8.5pt}
}
)";

}  // namespace

std::string style_sheet() {
  std::string out;
  for (const char* part : {colours, text, plots, tables, sizes}) out += part;
  return out;
}

}  // namespace eso_program
