"""Common short words for made-up prompts: most are one token, or one with its space, in most vocabularies."""

from __future__ import annotations

_TEXT = """
about above after again air all also always and animal answer any apple are area around ask away baby back
ball bank base bear because bed been before began begin bell best better between big bird black blue board
boat body book both bottom box boy bread bring brother brown build burn bus but buy cake call came can car
care carry case cat catch change cheap child city class clean clear climb clock close cloud coat cold color
come cook corner could country course cover cross cry cup cut dance dark day deep did dinner do dog door down
draw dream dress drink drive drop dry each early earth east eat egg eight end enough even evening ever every
eye face fact fall family far farm fast father feel feet few field fight fill find fine finger fire first
fish five floor flower fly follow food foot for forest form four free fresh friend from front fruit full
game garden gate gave get girl give glass go gold good grass great green ground group grow had hair half hand
happy hard has hat have he head hear heart heat heavy help her here high hill him his hold home hope horse
hot hour house how hundred ice idea if in into iron is island it job join jump just keep key kind king
kitchen knew know lake land large last late laugh lead learn leave left leg less let letter life light like
line list listen little live long look lost loud love low lunch made make man many map mark market may me
meal mean meat meet milk mind minute moon more morning most mother mountain mouth move much music must my
name near neck need never new next night nine no north nose not note nothing now number ocean of off often
old on once one only open or orange other our out over own page paint paper park part party pass past pay
people person picture piece place plan plant play point poor port pot press pull push put queen question
quick quiet rain ran read ready real red rest rice rich ride right ring rise river road rock roof room round
rule run sad safe said sail salt same sand sat save saw say school sea season seat second see seed sell send
set seven shall she ship shirt shoe shop short should show side silver simple sing sister sit six size skin
sky sleep slow small smile snow so soft some son song soon sound south space speak spring stand star start
station stay step still stone stop store story street strong such sugar summer sun sure sweet swim table
take talk tall tea teach tell ten test than that the their them then there these they thing think this
those three time to today together told too took top town train tree true try turn two under until up us
use valley very village visit voice wait walk wall want warm was wash watch water way we wear week well
went were west what wheel when where which while white who why wide will wind window winter wish with wood
word work world would write year yellow yes you young your
"""

WORDS: tuple[str, ...] = tuple(_TEXT.split())
