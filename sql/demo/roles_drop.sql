-- roles_drop: after the schemas, with which everything goes that they were granted
drop role if exists :"producer", :"consumer", :"observer"
